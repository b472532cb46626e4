// A chat as a Markdown file.

import { words } from "./words.js";

/** Return the chat as Markdown: its title, and a heading above each message. */
export function toMarkdown(title, messages) {
  const parts = [`# ${title}`];
  for (const { role, content, state, end } of messages) {
    if (content === "") continue;
    const author = role === "user" ? words.you : [words.model, end?.model].filter(Boolean).join(" · ");
    parts.push(`## ${author}`, content.trim());
    if (state === "stopped") parts.push(`*${words.stopped}*`);
  }
  return `${parts.join("\n\n")}\n`;
}

/** Return the name of a file for a chat of this title. */
export function fileName(title) {
  const allowed = title.replace(/[^\p{L}\p{N} _-]+/gu, " ").replace(/\s+/g, " ").trim();
  return `${allowed || words.title}.md`;
}
