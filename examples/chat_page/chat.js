// Requests to the server: GET models, and POST chat with text/event-stream back.

import { readEvents } from "./events.js";

// The server pings every few seconds while the model is silent. After this long without a byte the connection is dead:
// a laptop that slept, a network that changed.
const SILENCE_MS = 45_000;

const SILENT = "silent";

/**
 * Why there is no answer, or no whole one.
 *
 * `kind` is "status" (the server or GigaChat refused; `status` says how), "network" (no connection), "cut" (the answer
 * broke off) or "strange" (what came is not an answer). `retryAfter` is in seconds, or null.
 */
export class Failure extends Error {
  constructor(kind, { status = null, type = null, message = "", retryAfter = null, requestId = null } = {}) {
    super(message || kind);
    this.kind = kind;
    this.status = status;
    this.type = type;
    this.detail = message;
    this.retryAfter = retryAfter;
    this.requestId = requestId;
  }
}

/** Return `{models, default}`, the ids of the models, or null if the server offers no choice. */
export async function fetchModels() {
  try {
    const response = await fetch("models", { headers: { Accept: "application/json" }, cache: "no-store" });
    const { models, default: usual } = await response.json();
    const ids = models.filter((id) => typeof id === "string" && id !== "");
    return ids.length > 0 ? { models: ids, default: typeof usual === "string" ? usual : ids[0] } : null;
  } catch {
    return null;
  }
}

/**
 * Ask for an answer to `messages` (`[{role, content}, …]`) and call `onText` with each piece of it.
 *
 * `model` is an id from `fetchModels`, or null for the server's default. `onBytes` is called whenever anything arrives,
 * also the server's pings. Returns the server's last event: `{finish_reason, model, usage, request_id}`. Raises
 * `Failure`; a stop by `signal` is an `AbortError`. The text that `onText` has received is valid in either case.
 */
export async function ask(messages, { signal, onText, onBytes = () => {}, model = null, silenceMs = SILENCE_MS }) {
  const silence = new AbortController();
  const either = AbortSignal.any([signal, silence.signal]);
  let watch = null;
  try {
    const response = await fetch("chat", {
      method: "POST",
      headers: headers(),
      body: JSON.stringify(model === null ? { messages } : { messages, model }),
      credentials: "same-origin",
      cache: "no-store",
      signal: either,
    });
    if (!response.ok) throw await refusal(response);
    if (!(response.headers.get("Content-Type") ?? "").startsWith("text/event-stream")) {
      throw new Failure("strange", { status: response.status });
    }
    watch = new Watch(silenceMs, () => silence.abort(SILENT));
    let end = null;
    await readEvents(response, {
      onBytes: () => {
        watch.seen();
        onBytes();
      },
      onEvent: ({ name, data }) => {
        if (end !== null) return;
        const value = parsed(data);
        if (name === "message") onText(String(value.text ?? ""));
        else if (name === "done") end = value;
        else if (name === "error") throw new Failure("status", failureFields(value));
      },
    });
    if (end === null) throw new Failure("cut");
    return end;
  } catch (error) {
    if (signal.aborted) throw new DOMException("stopped", "AbortError");
    if (error instanceof Failure) throw error;
    // fetch() and the reader say TypeError for whatever went wrong below them.
    throw new Failure(watch === null ? "network" : "cut");
  } finally {
    watch?.end();
  }
}

function headers() {
  const found = { "Content-Type": "application/json", Accept: "text/event-stream" };
  const token = cookie("csrftoken");
  if (token !== null) found["X-CSRFToken"] = token;
  return found;
}

function cookie(name) {
  for (const pair of document.cookie.split(";")) {
    const [key, ...rest] = pair.trim().split("=");
    if (key === name) return decodeURIComponent(rest.join("="));
  }
  return null;
}

function parsed(data) {
  try {
    const value = JSON.parse(data);
    if (value !== null && typeof value === "object") return value;
  } catch {
    // The error below is also for this text.
  }
  throw new Failure("strange", { message: data.slice(0, 200) });
}

// An error's payload, from the body of a refusal or from an "error" event.
function failureFields(value) {
  return {
    status: Number.isInteger(value.status) ? value.status : null,
    type: typeof value.type === "string" ? value.type : null,
    message: typeof value.message === "string" ? value.message : "",
    retryAfter: seconds(value.retry_after),
    requestId: typeof value.request_id === "string" ? value.request_id : null,
  };
}

async function refusal(response) {
  let value = {};
  try {
    const body = await response.json();
    value = body?.error && typeof body.error === "object" ? body.error : (body ?? {});
  } catch {
    // A page of HTML, from a gateway or from the framework: the status is enough.
  }
  const found = failureFields(value);
  const header = response.headers.get("Retry-After");
  if (header !== null && header.trim() !== "") found.retryAfter = seconds(Number(header)) ?? found.retryAfter;
  return new Failure("status", { ...found, status: response.status });
}

function seconds(value) {
  return typeof value === "number" && Number.isFinite(value) && value >= 0 ? value : null;
}

// Calls `onSilence` once nothing has been seen for a while. It looks twice: a page that was frozen wakes up with its
// timers before the bytes that have come meanwhile.
class Watch {
  #timer;
  #seen = false;
  #missed = 0;

  constructor(milliseconds, onSilence) {
    this.#timer = setInterval(() => {
      this.#missed = this.#seen ? 0 : this.#missed + 1;
      this.#seen = false;
      if (this.#missed === 2) onSilence();
    }, milliseconds / 2);
  }

  seen() {
    this.#seen = true;
  }

  end() {
    clearInterval(this.#timer);
  }
}
