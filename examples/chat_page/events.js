// Reads text/event-stream from a response: bytes in, events out.

/**
 * Events out of bytes that may be cut anywhere: in the middle of a letter, of a line, of a CR LF.
 *
 * Each event is `{name, data}`; the name of an unnamed one is "message". Comments (the server's pings) are no events.
 * An event that no empty line has finished when the stream ends is dropped, as the standard says.
 */
export class EventParser {
  #onEvent;
  #decoder = new TextDecoder();
  #line = "";
  #data = [];
  #name = "";
  #endedInReturn = false;

  constructor(onEvent) {
    this.#onEvent = onEvent;
  }

  push(bytes) {
    const text = this.#decoder.decode(bytes, { stream: true });
    if (text === "") return;
    // The CR that ended the last piece has ended its line already; an LF that follows belongs to it.
    let start = this.#endedInReturn && text[0] === "\n" ? 1 : 0;
    this.#endedInReturn = text.endsWith("\r");
    const lineEnd = /\r\n|\r|\n/g;
    lineEnd.lastIndex = start;
    for (let found = lineEnd.exec(text); found !== null; found = lineEnd.exec(text)) {
      const line = this.#line + text.slice(start, found.index);
      this.#line = "";
      start = lineEnd.lastIndex;
      this.#take(line);
    }
    this.#line += text.slice(start);
  }

  #take(line) {
    if (line === "") {
      this.#finish();
      return;
    }
    const colon = line.indexOf(":");
    const field = colon === -1 ? line : line.slice(0, colon);
    let value = colon === -1 ? "" : line.slice(colon + 1);
    if (value[0] === " ") value = value.slice(1);
    if (field === "data") this.#data.push(value);
    else if (field === "event") this.#name = value;
  }

  #finish() {
    const data = this.#data;
    const name = this.#name || "message";
    this.#data = [];
    this.#name = "";
    if (data.length > 0) this.#onEvent({ name, data: data.join("\n") });
  }
}

/**
 * Read a response to its end and call `onEvent` with each event.
 *
 * `onBytes` is called whenever anything has come, pings too, so that a watch can be kept on a connection that died
 * without saying so.
 */
export async function readEvents(response, { onEvent, onBytes = () => {} }) {
  const parser = new EventParser(onEvent);
  const reader = response.body.getReader();
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      onBytes();
      parser.push(value);
    }
  } catch (error) {
    // `onEvent` raised for an event, or the connection broke: end the request, so that the server stops the answer.
    reader.cancel().catch(() => {});
    throw error;
  }
}
