// The page: a conversation, its composer, and the list of earlier ones.

import { Failure, ask, fetchModels } from "./chat.js";
import { fileName, toMarkdown } from "./export.js";
import * as history from "./history.js";
import { MarkdownView, languageOf } from "./markdown.js";
import { fill, language, sentenceFor, words } from "./words.js";

const SAVE_EVERY_MS = 500;
const NEAR_THE_END_PX = 32;
const TITLE_LETTERS = 60;
// An answer that another tab receives is looked at again after this time, in case that tab is gone.
const LOOK_AGAIN_MS = 5_000;

const place = Object.fromEntries([...document.querySelectorAll("[id]")].map((element) => [element.id, element]));
const narrow = matchMedia("(max-width: 55rem)");
// A phone's keyboard has no Shift+Enter, and a button to send with is under the thumb.
const touch = matchMedia("(hover: none) and (pointer: coarse)");

let chat = history.currentChat();
let views = [];
/** The answer that arrives: {chat, message, view, controller, fresh, savedAt}; null if there is none. */
let running = null;
/** Whether the page is about to be left. */
let leaving = false;

// --- one message ---------------------------------------------------------------------------------------------------

class MessageView {
  #message;
  #element;
  #parts;
  #markdown = null;
  #frame = 0;
  #notBefore = 0;
  #countdown = 0;

  constructor(message) {
    this.#message = message;
    this.#element = place.message.content.firstElementChild.cloneNode(true);
    const part = (selector) => this.#element.querySelector(selector);
    this.#parts = {
      heading: part("h2"), body: part(".body"), dots: part(".dots"), note: part(".note"), failure: part(".failure"),
      sentence: part(".sentence"), details: part("details"), retry: part(".retry"), tools: part(".tools"),
      copy: part(".copy"), again: part(".again"), edit: part(".edit"), continue: part(".continue"), meta: part(".meta"),
    };
    this.#element.dataset.role = message.role;
    this.#parts.heading.textContent = message.role === "user" ? words.you : words.model;
    if (message.role !== "user") this.#markdown = new MarkdownView(this.#parts.body, frameCode);
    this.#parts.details.querySelector("summary").textContent = words.details;
    name(this.#parts.copy, words.copy);
    name(this.#parts.again, words.again);
    name(this.#parts.edit, words.edit);
    this.#parts.continue.querySelector("span").textContent = words.continue;
    this.#parts.copy.addEventListener("click", () => copy(this.#parts.copy, this.#message.content, words.copy));
    for (const button of [this.#parts.again, this.#parts.retry]) button.addEventListener("click", () => answer(this));
    this.#parts.continue.addEventListener("click", () => answer(this, { continuing: true }));
    this.#parts.edit.addEventListener("click", () => this.#openEditor());
    this.draw();
  }

  get element() {
    return this.#element;
  }

  get message() {
    return this.#message;
  }

  /** The text of the answer for a screen reader: without marks, and with each formula as its source. */
  get text() {
    const body = this.#parts.body.cloneNode(true);
    for (const formula of body.querySelectorAll(".katex")) {
      formula.replaceWith(formula.querySelector("annotation")?.textContent ?? "");
    }
    return [...body.children].map(({ textContent }) => textContent.trim()).join("\n");
  }

  /** Show another version of the message, from another tab. */
  update(message) {
    if (message === this.#message) return;
    this.#message = message;
    this.draw();
  }

  /** Show the present state of the message. */
  draw() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    const { state, content, failure } = this.#message;
    this.#element.dataset.state = state ?? "done";
    this.#element.setAttribute("aria-busy", String(state === "streaming"));
    if (this.#markdown === null) this.#parts.body.textContent = content;
    else this.#markdown.draw(content);
    this.#parts.body.hidden = content === "";
    this.#parts.dots.hidden = state !== "streaming" || (running?.message === this.#message && !running.fresh);
    this.#parts.tools.hidden = state === "streaming" || (content === "" && state !== "stopped");
    this.#parts.copy.hidden = content === "";
    this.#drawNote();
    this.#drawFailure(state === "failed" ? failure : null);
    this.#drawMeta();
    this.drawAgain();
  }

  /** Show the new text with the next frame; not more often than drawing allows. */
  drawSoon() {
    if (this.#frame !== 0) return;
    this.#frame = requestAnimationFrame((now) => {
      this.#frame = 0;
      if (now < this.#notBefore) {
        this.drawSoon();
        return;
      }
      this.draw();
      keepUp();
      // A long answer takes its time to draw; the rest of the page gets four times as much.
      this.#notBefore = performance.now() + 4 * (performance.now() - now);
    });
  }

  /** Only the last answer can be asked for again or continued. A question can be changed while no answer arrives. */
  drawAgain() {
    const { role, state, content, end } = this.#message;
    const idle = running === null && chat.messages.at(-1)?.state !== "streaming";
    const last = idle && role !== "user" && chat.messages.at(-1) === this.#message;
    const incomplete = state === "stopped" || state === "failed" || end?.finish_reason === "length";
    this.#parts.again.hidden = !last || state === "failed";
    this.#parts.retry.hidden = !last;
    this.#parts.continue.hidden = !last || !incomplete || content === "";
    this.#parts.edit.hidden = role !== "user" || !idle;
  }

  remove() {
    cancelAnimationFrame(this.#frame);
    clearInterval(this.#countdown);
    this.#element.remove();
  }

  #openEditor() {
    const editor = place.editor.content.firstElementChild.cloneNode(true);
    const field = editor.querySelector("textarea");
    const note = editor.querySelector(".hint");
    editor.querySelector(".cancel").textContent = words.cancel;
    editor.querySelector(".resend").textContent = words.resend;
    note.textContent = words.replaces;
    note.hidden = chat.messages.at(-2) === this.#message; // a new answer to the last question replaces no question
    field.setAttribute("aria-label", words.editor);
    field.value = this.#message.content;
    const close = () => {
      editor.remove();
      delete this.#element.dataset.editing;
      this.#parts.edit.focus();
    };
    field.addEventListener("input", () => fit(field));
    field.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && !event.isComposing) {
        event.stopPropagation(); // this Escape does not stop an answer
        close();
      } else if (sends(event)) {
        event.preventDefault();
        editor.requestSubmit();
      }
    });
    editor.querySelector(".cancel").addEventListener("click", close);
    editor.addEventListener("submit", (event) => {
      event.preventDefault();
      resend(this.#message, field.value);
    });
    this.#element.dataset.editing = "";
    this.#element.append(editor);
    fit(field);
    field.focus();
  }

  #drawNote() {
    const { state, end } = this.#message;
    let note = "";
    if (state === "stopped") note = words.stopped;
    else if (end?.finish_reason === "length") note = words.cutByLimit;
    else if (end?.blocked) note = words.filtered;
    this.#parts.note.textContent = note;
    this.#parts.note.hidden = note === "";
  }

  #drawFailure(failure) {
    clearInterval(this.#countdown);
    this.#parts.failure.hidden = failure === null;
    this.#parts.continue.disabled = false;
    if (failure === null) return;
    this.#parts.sentence.textContent = sentenceFor(failure);
    const parts = [failure.type, failure.detail, failure.requestId && `${words.requestId} ${failure.requestId}`];
    const details = parts.filter(Boolean).join(" · ");
    this.#parts.details.querySelector("p").textContent = details;
    this.#parts.details.hidden = details === "";
    const count = () => {
      const seconds = Math.ceil(((failure.until ?? 0) - Date.now()) / 1000);
      this.#parts.retry.disabled = seconds > 0;
      this.#parts.continue.disabled = seconds > 0;
      this.#parts.retry.textContent = seconds > 0 ? fill(words.retryIn, { seconds }) : words.retry;
      if (seconds <= 0) clearInterval(this.#countdown);
    };
    this.#countdown = setInterval(count, 250);
    count();
  }

  #drawMeta() {
    const { end } = this.#message;
    const count = end?.usage?.total_tokens;
    const tokens = Number.isFinite(count) && fill(words.tokens, { count: new Intl.NumberFormat(language).format(count) });
    this.#parts.meta.textContent = [end?.model, tokens].filter(Boolean).join(" · ");
  }
}

function frameCode(fragment) {
  for (const pre of fragment.querySelectorAll("pre")) {
    const frame = place.code.content.firstElementChild.cloneNode(true);
    const code = pre.querySelector("code") ?? pre;
    frame.querySelector(".language").textContent = languageOf(code);
    const button = frame.querySelector("button");
    name(button, words.copyCode);
    button.addEventListener("click", () => copy(button, code.textContent, words.copyCode));
    pre.tabIndex = 0;
    pre.replaceWith(frame);
    frame.append(pre);
  }
}

async function copy(button, text, usual) {
  let done = true;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    done = copyBySelection(text);
  }
  const use = button.querySelector("use");
  use.setAttribute("href", done ? "#icon-done" : "#icon-alert");
  name(button, done ? words.copied : words.notCopied);
  announce(done ? words.copied : words.notCopied);
  setTimeout(() => {
    use.setAttribute("href", "#icon-copy");
    name(button, usual);
  }, 1500);
}

// Without https a browser has no clipboard for a page, but it has this.
function copyBySelection(text) {
  const before = document.activeElement;
  const field = document.createElement("textarea");
  field.className = "visually-hidden";
  field.value = text;
  document.body.append(field);
  field.select();
  try {
    return document.execCommand("copy");
  } finally {
    field.remove();
    before?.focus({ preventScroll: true });
  }
}

// --- asking and answering ------------------------------------------------------------------------------------------

function send(text) {
  if (running !== null || text.trim() === "") return;
  place.question.value = "";
  history.setDraft("");
  fitQuestion();
  askQuestion(text.trim());
}

function askQuestion(text) {
  const [question, answered] = history.addTurn(chat, text);
  show(question);
  following = true;
  place.welcome.hidden = true;
  keep(chat, question);
  answer(show(answered));
}

// Ask a changed question in place of `question` and of all that follows it.
function resend(question, text) {
  if (running !== null || text.trim() === "") return;
  const index = chat.messages.indexOf(question);
  if (index === -1) return;
  history.remove(chat.id, chat.messages.splice(index));
  drawChat();
  askQuestion(text.trim());
  place.question.focus();
}

async function answer(view, { continuing = false } = {}) {
  if (running !== null) return;
  const message = view.message;
  const sent = chat.messages.slice(0, chat.messages.indexOf(message)).filter(({ content }) => content !== "");
  if (continuing) sent.push(message, { role: "user", content: words.continueRequest });
  const mine = { chat, message, view, controller: new AbortController(), fresh: true, savedAt: 0 };
  running = mine;
  Object.assign(message, { state: "streaming", failure: null, end: null });
  redrawTools();
  view.draw();
  keepUp();
  announce(words.sayWaiting);
  keep(chat, message);
  let outcome;
  try {
    const end = await ask(sent.map(({ role, content }) => ({ role, content })), {
      signal: mine.controller.signal,
      model: place.model.value === "" || place.model.value === place.model.dataset.usual ? null : place.model.value,
      onText: (text) => {
        if (text === "") return;
        if (mine.fresh && continuing) message.content += joint(message.content, text);
        // The text of an earlier attempt stays until the first text of this one.
        else if (mine.fresh) message.content = "";
        mine.fresh = false;
        message.content += text;
        view.drawSoon();
      },
      onBytes: () => {
        if (running === mine && Date.now() - mine.savedAt >= SAVE_EVERY_MS) save();
      },
    });
    outcome = { state: "done", end };
  } catch (error) {
    // The browser ends the requests of a page that is being left: nothing has failed.
    const stopped = error.name === "AbortError" || (leaving && error instanceof Failure && error.kind !== "status");
    outcome = stopped ? { state: "stopped" } : { state: "failed", failure: failureOf(error) };
  }
  if (running === mine) settle(mine, outcome);
}

// Models begin a continuation with a whole word, and most without a space before it.
function joint(before, after) {
  return /[\p{L}\p{N}.,:;!?]$/u.test(before) && /^[\p{L}\p{N}]/u.test(after) ? " " : "";
}

function settle({ chat: answered, message, view }, outcome) {
  running = null;
  Object.assign(message, outcome);
  keep(answered, message);
  if (answered !== chat) return;
  view.draw();
  redrawTools();
  keepUp();
  if (message.state === "done") announce(fill(words.sayAnswer, { text: view.text }));
  else if (message.state === "stopped") announce(fill(words.sayStopped, { text: view.text }));
  else announce(sentenceFor(message.failure));
}

// The failure as the history stores it. The end of the wait is a point in time, so that a reload does not restart it.
function failureOf(error) {
  if (!(error instanceof Failure)) {
    console.error(error);
    return { kind: "strange", status: null, type: error.name, detail: error.message, requestId: null, until: null };
  }
  const { kind, status, type, detail, requestId, retryAfter } = error;
  return { kind, status, type, detail, requestId, until: retryAfter === null ? null : Date.now() + retryAfter * 1000 };
}

function stop() {
  running?.controller.abort();
  place.question.focus();
}

// Save the text received so far.
function save() {
  if (running === null) return;
  running.savedAt = Date.now();
  store(running.chat, running.message);
}

function store(kept, message) {
  place["no-room"].hidden = history.save(kept.id, message);
}

// Keep a message, and show its chat at its place among the others.
function keep(kept, message) {
  store(kept, message);
  history.setCurrent(chat.id);
  drawList();
}

// Show the messages that another tab has stored. This tab's own answer and messages without room in the storage stay.
function merge() {
  const stored = history.find(chat.id)?.messages ?? [];
  const found = new Map(stored.map((message) => [message.id, message]));
  const own = running?.chat === chat ? running.message : null;
  const deleted = own !== null && !own.unsaved && !found.has(own.id);
  for (const message of chat.messages) {
    const same = found.get(message.id)?.updated === message.updated && found.get(message.id)?.state === message.state;
    if (message.unsaved || same || (message === own && !deleted)) found.set(message.id, message);
  }
  chat.messages = [...found.values()].sort((one, other) => (one.id < other.id ? -1 : 1));
  if (deleted) {
    const { controller } = running;
    running = null;
    controller.abort();
  }
  drawChat();
  redrawTools();
  drawList();
  clearTimeout(lookingAgain);
  if (chat.messages.some(history.isReceivedElsewhere)) lookingAgain = setTimeout(merge, LOOK_AGAIN_MS);
}

let lookingAgain = 0;

// --- the conversation ----------------------------------------------------------------------------------------------

function show(message) {
  const view = new MessageView(message);
  views.push(view);
  place.messages.append(view.element);
  return view;
}

function open(wanted) {
  const left = running;
  chat = wanted;
  if (left !== null) {
    // The chat that is left keeps the text received of its answer.
    left.controller.abort();
    settle(left, { state: "stopped" });
    redrawTools();
  }
  history.setCurrent(chat.id);
  following = true;
  drawChat();
  merge();
  if (!touch.matches) place.question.focus();
}

// Views of messages that are still there stay, with the reader's selection and edits.
function drawChat() {
  const known = new Map(views.map((view) => [view.message.id, view]));
  const wanted = new Set(chat.messages.map(({ id }) => id));
  for (const view of views) if (!wanted.has(view.message.id)) view.remove();
  views = [];
  for (const message of chat.messages) {
    const view = known.get(message.id);
    if (view === undefined) {
      show(message);
      continue;
    }
    view.update(message);
    views.push(view);
    // Moving an element would take the focus from it.
    if (place.messages.children[views.length - 1] !== view.element) place.messages.append(view.element);
  }
  place.welcome.hidden = chat.messages.length > 0;
  goToEnd();
}

function redrawTools() {
  place.send.hidden = running !== null;
  place.stop.hidden = running === null;
  place.export.hidden = chat.messages.length === 0;
  for (const view of views) view.drawAgain();
}

function titleOf({ messages }) {
  const first = messages.find(({ role }) => role === "user")?.content.trim().split("\n")[0] ?? words.untitled;
  const letters = [...first];
  return letters.length > TITLE_LETTERS ? `${letters.slice(0, TITLE_LETTERS - 1).join("")}…` : first;
}

let listed = "";

function drawList() {
  const chats = history.allChats().map((one) => ({ id: one.id, title: titleOf(one) }));
  const title = titleOf(chat);
  place.heading.textContent = chat.messages.length > 0 ? title : words.title;
  document.title = chat.messages.length > 0 ? `${title} – ${words.title}` : words.title;
  const wanted = JSON.stringify([chat.id, chats]);
  if (wanted === listed) return;
  listed = wanted;
  place["chat-list"].replaceChildren(
    ...chats.map(({ id, title }) => {
      const item = place.chat.content.firstElementChild.cloneNode(true);
      const [opener, deleter] = item.querySelectorAll("button");
      opener.textContent = title;
      if (id === chat.id) opener.setAttribute("aria-current", "page");
      opener.addEventListener("click", () => {
        showChats(false);
        const found = history.find(id);
        if (id !== chat.id && found !== undefined) open(found);
      });
      name(deleter, fill(words.deleteChat, { title }));
      deleter.addEventListener("click", () => {
        if (!confirm(fill(words.deleteSure, { title }))) return;
        if (id === chat.id) open(history.newChat());
        history.remove(id, history.find(id)?.messages ?? []);
        drawList();
      });
      return item;
    }),
  );
}

function beginNew() {
  showChats(false);
  if (chat.messages.length > 0) open(history.newChat());
  place.question.focus();
}

// --- scrolling: after the text, until the reader goes somewhere else -------------------------------------------------

let following = true;
let lastTop = 0;

function belowTheView() {
  return place.log.scrollHeight - place.log.scrollTop - place.log.clientHeight;
}

function keepUp() {
  noteScroll(); // the reader may have gone up since
  goToEnd();
}

function goToEnd() {
  if (following) place.log.scrollTop = place.log.scrollHeight;
  lastTop = place.log.scrollTop;
  noteScroll();
}

function noteScroll() {
  const below = belowTheView();
  const top = place.log.scrollTop;
  if (below <= NEAR_THE_END_PX) following = following || top >= lastTop;
  if (top < lastTop && below > 1) following = false;
  lastTop = top;
  place.jump.hidden = following || below <= NEAR_THE_END_PX;
}

place.log.addEventListener("scroll", noteScroll, { passive: true });
// After a change of size the view may be elsewhere, although the reader did not scroll.
new ResizeObserver(goToEnd).observe(place.log);
place.jump.addEventListener("click", () => {
  following = true;
  goToEnd();
  place.question.focus();
});

// --- the composer --------------------------------------------------------------------------------------------------

function fit(field) {
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight}px`;
}

// 229: in some browsers the Enter that ends a composition is not marked as part of it.
function sends(event) {
  return event.key === "Enter" && !event.shiftKey && !event.isComposing && event.keyCode !== 229 && !touch.matches;
}

function fitQuestion() {
  fit(place.question);
  place.send.disabled = place.question.value.trim() === "";
}

place.question.addEventListener("input", () => {
  fitQuestion();
  history.setDraft(place.question.value);
});
place.question.addEventListener("keydown", (event) => {
  if (!sends(event)) return;
  event.preventDefault();
  send(place.question.value);
});
place.composer.addEventListener("submit", (event) => {
  event.preventDefault();
  send(place.question.value);
});
place.stop.addEventListener("click", stop);

// --- the model, and saving a chat -----------------------------------------------------------------------------------

async function offerModels() {
  const offered = await fetchModels();
  if (offered === null || offered.models.length < 2) return;
  const { models } = offered;
  place.model.replaceChildren(...models.map((id) => new Option(id, id)));
  place.model.dataset.usual = offered.default;
  place.model.value = [history.chosenModel(), offered.default].find((id) => models.includes(id)) ?? models[0];
  place["model-choice"].hidden = false;
}

place.model.addEventListener("change", () => history.setModel(place.model.value));

place.export.addEventListener("click", () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([toMarkdown(titleOf(chat), chat.messages)], { type: "text/markdown" }));
  link.download = fileName(titleOf(chat));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // a browser may ask where to save it
});

// --- the list of chats, a drawer on narrow screens -------------------------------------------------------------------

function showChats(shown) {
  const drawer = narrow.matches;
  const opened = drawer && shown;
  const wasOpen = document.body.classList.contains("chats-open");
  document.body.classList.toggle("chats-open", opened);
  place.chats.inert = drawer && !opened;
  place.shade.hidden = !opened;
  place.menu.setAttribute("aria-expanded", String(opened));
  name(place.menu, opened ? words.hideChats : words.showChats);
  if (opened) place["new-chat"].focus();
  else if (wasOpen) place.menu.focus();
}

place.menu.addEventListener("click", () => showChats(!document.body.classList.contains("chats-open")));
place.shade.addEventListener("click", () => showChats(false));
narrow.addEventListener("change", () => showChats(false));
for (const button of [place["new-chat"], place["new-chat-short"]]) button.addEventListener("click", beginNew);

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.isComposing) return;
  if (document.body.classList.contains("chats-open")) showChats(false);
  else if (running !== null) stop();
});

// --- the rest ------------------------------------------------------------------------------------------------------

function name(element, text) {
  element.setAttribute("aria-label", text);
  element.title = text;
}

function announce(text) {
  place.announcer.textContent = text;
}

function sayInTheirLanguage() {
  document.documentElement.lang = language;
  place.heading = document.querySelector("header h1");
  place["new-chat"].querySelector("span").textContent = words.newChat;
  name(place["new-chat-short"], words.newChat);
  name(place.jump, words.jump);
  name(place.export, words.export);
  place["model-choice"].querySelector("span").textContent = words.modelChoice;
  name(place.send, words.send);
  name(place.stop, words.stop);
  place.chats.setAttribute("aria-label", words.chats);
  place.log.setAttribute("aria-label", words.conversation);
  place.question.setAttribute("aria-label", words.placeholder);
  place.question.placeholder = words.placeholder;
  place.hint.textContent = touch.matches ? words.hintTouch : words.hint;
  place["no-room"].textContent = words.noRoom;
  place.welcome.querySelector(".greeting").textContent = words.greeting;
  place.welcome.querySelector(".hint").textContent = words.tryThis;
  place.welcome.querySelector("ul").replaceChildren(
    ...words.examples.map((example) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = example;
      button.addEventListener("click", () => send(example));
      item.append(button);
      return item;
    }),
  );
}

addEventListener("beforeunload", () => {
  leaving = true;
  setTimeout(() => (leaving = false), 2000); // it was a download, or the reader stayed
});
// The page is left, or may be left without another event: save the text received. Other tabs then show that the answer
// has ended.
addEventListener("pagehide", ({ persisted }) => {
  if (running !== null && !persisted) running.message.state = "stopped";
  save();
});
document.addEventListener("visibilitychange", save);
// Another tab has changed something.
addEventListener("storage", (event) => {
  if (history.concerns(event)) merge();
});

sayInTheirLanguage();
showChats(false);
place.question.value = history.draft();
fitQuestion();
drawChat();
redrawTools();
merge();
offerModels();
