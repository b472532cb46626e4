// The chats of this browser, in localStorage. Each message is one entry, and a tab writes only the messages that it
// makes. So two tabs on one chat never overwrite each other, and no lock is needed.

const PREFIX = "gigaclient-chat:";
const CURRENT = "gigaclient-chat-current";
const DRAFT = "gigaclient-chat-draft";
const MODEL = "gigaclient-chat-model";
const TAB = "gigaclient-chat-tab";
const VERSION = 2;

// A tab saves a streaming answer with each event and each ping of the server, which come every few seconds. After this
// long without a save, the tab that received it is gone.
const DEAD_MS = 15_000;

// A browser that keeps nothing for this site gets a chat that lasts as long as the page.
const lasting = storage("localStorage");
const ofTab = storage("sessionStorage");

/** The id of this tab; a reload keeps it. */
const tab = ofTab.getItem(TAB) ?? randomId();
ofTab.setItem(TAB, tab);

/** A chat is `{id, messages: [{id, role, content, state, failure, end, updated}]}`, sorted by the ids of its messages. */
export function newChat() {
  return { id: randomId(), messages: [] };
}

/**
 * Add a question and its empty answer to `chat`, and return both.
 *
 * Ids sort by the time of the question, and an answer directly follows its question: also when two tabs ask at the
 * same time.
 */
export function addTurn(chat, content) {
  const last = chat.messages.at(-1);
  const time = Math.max(Date.now(), last === undefined ? 0 : timeOf(last.id) + 1);
  const turn = `${time.toString(36).padStart(9, "0")}-${randomId()}`;
  const question = { id: `${turn}.0`, role: "user", content };
  const answer = { id: `${turn}.1`, role: "assistant", content: "", state: "streaming" };
  chat.messages.push(question, answer);
  return [question, answer];
}

/** Return every chat, the latest first. */
export function allChats() {
  const chats = new Map();
  for (let index = 0; index < lasting.length; index += 1) {
    const place = placeOf(lasting.key(index));
    const message = place && read(place.messageId, lasting.getItem(lasting.key(index)));
    if (!message) continue;
    if (!chats.has(place.chatId)) chats.set(place.chatId, { id: place.chatId, messages: [] });
    chats.get(place.chatId).messages.push(message);
  }
  for (const { messages } of chats.values()) messages.sort((one, other) => (one.id < other.id ? -1 : 1));
  return [...chats.values()].sort((one, other) => updatedAt(other) - updatedAt(one));
}

/** Return the stored chat `id`, or undefined. */
export function find(id) {
  return allChats().find((chat) => chat.id === id);
}

/**
 * Store a message of the chat `chatId`; remove the oldest other chats if the browser has no room.
 *
 * Returns false if there is no room even then. `message.unsaved` says the same.
 */
export function save(chatId, message) {
  Object.assign(message, { tab, updated: Date.now() });
  const { id, unsaved, ...fields } = message;
  for (;;) {
    try {
      lasting.setItem(keyOf(chatId, id), JSON.stringify({ ...fields, version: VERSION }));
      message.unsaved = false;
      return true;
    } catch {
      const oldest = allChats().findLast((other) => other.id !== chatId);
      if (oldest === undefined) {
        message.unsaved = true;
        return false;
      }
      remove(oldest.id, oldest.messages);
    }
  }
}

/** Remove messages of the chat `chatId`. */
export function remove(chatId, messages) {
  for (const { id } of messages) lasting.removeItem(keyOf(chatId, id));
}

/** Return true if a "storage" event is about messages. */
export function concerns(event) {
  return event.key === null || placeOf(event.key) !== null;
}

/** Return the chat that this tab showed last, or a new one. */
export function currentChat() {
  const id = ofTab.getItem(CURRENT);
  const chats = allChats();
  if (id === null) return chats[0] ?? newChat();
  const chat = chats.find((one) => one.id === id) ?? newChat();
  // The answers of this tab ended with the page that received them.
  for (const message of chat.messages) {
    if (message.state !== "streaming" || message.tab !== tab) continue;
    message.state = "stopped";
    save(chat.id, message);
  }
  return chat;
}

export function setCurrent(id) {
  ofTab.setItem(CURRENT, id);
}

/** The text that was typed and not sent. */
export function draft() {
  return ofTab.getItem(DRAFT) ?? "";
}

export function setDraft(text) {
  ofTab.setItem(DRAFT, text);
}

/** The id of the chosen model, or null for the server's default. */
export function chosenModel() {
  return lasting.getItem(MODEL);
}

export function setModel(id) {
  try {
    lasting.setItem(MODEL, id);
  } catch {
    // No room: the choice lasts as long as the page.
  }
}

/** Return true for a message that another tab receives at the moment. */
export function isReceivedElsewhere(message) {
  return message.state === "streaming" && message.tab !== tab;
}

// Not crypto.randomUUID, which a page has only on https and on this machine.
function randomId() {
  return [...crypto.getRandomValues(new Uint32Array(3))].map((number) => number.toString(36)).join("");
}

function timeOf(messageId) {
  return Number.parseInt(messageId, 36);
}

function updatedAt(chat) {
  return Math.max(...chat.messages.map(({ updated }) => updated));
}

function keyOf(chatId, messageId) {
  return `${PREFIX}${chatId}:${messageId}`;
}

function placeOf(key) {
  if (!key.startsWith(PREFIX)) return null;
  const [chatId, messageId] = key.slice(PREFIX.length).split(":");
  return messageId === undefined ? null : { chatId, messageId };
}

function storage(name) {
  try {
    const found = globalThis[name];
    found.getItem(CURRENT);
    return found;
  } catch {
    return new Memory();
  }
}

class Memory {
  #items = new Map();

  get length() {
    return this.#items.size;
  }

  key(index) {
    return [...this.#items.keys()][index];
  }

  getItem(key) {
    return this.#items.get(key) ?? null;
  }

  setItem(key, value) {
    this.#items.set(key, value);
  }

  removeItem(key) {
    this.#items.delete(key);
  }
}

function read(id, text) {
  try {
    const { version, ...message } = JSON.parse(text);
    if (version !== VERSION || typeof message.role !== "string" || typeof message.content !== "string") return null;
    message.updated = Number(message.updated) || 0;
    if (message.state === "streaming" && Date.now() - message.updated > DEAD_MS) message.state = "stopped";
    return { ...message, id };
  } catch {
    return null;
  }
}
