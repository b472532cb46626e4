// The chats of this browser, in localStorage: one entry for each, so that two tabs do not write over each other.

const PREFIX = "gigaclient-chat:";
const CURRENT = "gigaclient-chat-current";
const DRAFT = "gigaclient-chat-draft";
const VERSION = 1;

// A browser that keeps nothing for this site gets a chat that lasts as long as the page.
const lasting = storage("localStorage");
const ofTab = storage("sessionStorage");

/** A chat is `{id, updated, messages: [{role, content, state, failure, end}]}`. */
export function newChat() {
  // Not crypto.randomUUID, which a page has only on https and on this machine.
  return { id: [...crypto.getRandomValues(new Uint32Array(3))].map((n) => n.toString(36)).join(""), updated: 0, messages: [] };
}

/** Every chat, the latest first. */
export function allChats() {
  const found = [];
  for (let index = 0; index < lasting.length; index += 1) {
    const key = lasting.key(index);
    if (!key.startsWith(PREFIX)) continue;
    const chat = read(lasting.getItem(key));
    if (chat !== null) found.push(chat);
  }
  return found.sort((one, other) => other.updated - one.updated);
}

/** Keep `chat`; false when the browser has no room for it, even without the oldest chats. */
export function save(chat) {
  if (chat.messages.length === 0) return true;
  for (;;) {
    try {
      lasting.setItem(PREFIX + chat.id, JSON.stringify({ version: VERSION, ...chat }));
      return true;
    } catch {
      const oldest = allChats().findLast((other) => other.id !== chat.id);
      if (oldest === undefined) return false;
      remove(oldest.id);
    }
  }
}

export function remove(id) {
  lasting.removeItem(PREFIX + id);
}

/** Whether a "storage" event is about our chats. */
export function concerns(event) {
  return event.key === null || event.key.startsWith(PREFIX);
}

/** Whether it is about a chat whose answer is coming in, in the other tab. */
export function isUnderWay(event) {
  return event.newValue !== null && event.newValue.includes('"state":"streaming"');
}

/** The chat that this tab showed last, else a new one. */
export function currentChat() {
  const id = ofTab.getItem(CURRENT);
  const chats = allChats();
  if (id === null) return chats[0] ?? newChat();
  return chats.find((chat) => chat.id === id) ?? newChat();
}

export function setCurrent(id) {
  ofTab.setItem(CURRENT, id);
}

/** What was typed and not sent. */
export function draft() {
  return ofTab.getItem(DRAFT) ?? "";
}

export function setDraft(text) {
  ofTab.setItem(DRAFT, text);
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

function read(text) {
  try {
    const chat = JSON.parse(text);
    if (chat.version !== VERSION || typeof chat.id !== "string" || !Array.isArray(chat.messages)) return null;
    const messages = chat.messages.filter((message) => typeof message.content === "string");
    // The page went away in the middle of this answer: what had come is there, and nothing more will come.
    for (const message of messages) if (message.state === "streaming") message.state = "stopped";
    return { id: chat.id, updated: Number(chat.updated) || 0, messages };
  } catch {
    return null;
  }
}
