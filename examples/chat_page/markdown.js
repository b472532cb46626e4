// Markdown of a model, drawn into the page as it grows. No tag that the model writes becomes markup.

const { markdownit, DOMPurify, hljs, katex, mdItPluginTex } = globalThis;

// html: false shows tags as text. The sanitizer protects the page if the parser has a fault.
const parser = markdownit({ html: false, linkify: true, breaks: true });
parser.linkify.set({ fuzzyLink: false, fuzzyEmail: false });

// A formula passes the parser and the sanitizer as text. KaTeX then renders it without markup in strings and without
// style attributes, which the security policy forbids.
const formula = (tex, display) => `<span class="${display ? "math display" : "math"}">${parser.utils.escapeHtml(tex)}</span>`;
parser.use(mdItPluginTex.tex, { delimiters: "all", render: formula });

// The plugin finds $$…$$ and \[…\] at the beginning of a line. Models also write them in the middle of a sentence.
const DISPLAY = { "$$": "$$", "\\[": "\\]" };
parser.inline.ruler.before("escape", "math_display", (state, silent) => {
  const opening = state.src.slice(state.pos, state.pos + 2);
  const end = opening in DISPLAY ? state.src.indexOf(DISPLAY[opening], state.pos + 2) : -1;
  const tex = end === -1 ? "" : state.src.slice(state.pos + 2, end);
  if (tex.trim() === "") return false;
  if (!silent) state.push("math_display", "math", 0).content = tex;
  state.pos = end + 2;
  return true;
});
parser.renderer.rules.math_display = (tokens, index) => formula(tokens[index].content, true);

// Show a link, because the browser would fetch a picture from any address that the model writes, with any data in it.
parser.renderer.rules.image = (tokens, index) => {
  const { escapeHtml } = parser.utils;
  const address = tokens[index].attrGet("src") ?? "";
  return `<a href="${escapeHtml(address)}">${escapeHtml(tokens[index].content || address)}</a>`;
};

const ALLOWED = {
  ALLOWED_TAGS: [
    "a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre", "s",
    "span", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
  ],
  ALLOWED_ATTR: ["align", "class", "href", "start", "title"],
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:)/i,
  ADD_URI_SAFE_ATTR: ["align", "start"], // these are no addresses
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};

// Sizes in em. The limits are for formulas that would cover the page or take seconds to expand.
const FORMULAS = { trust: false, strict: "ignore", maxSize: 20, maxExpand: 500, output: "htmlAndMathml" };

// Browsers crash on a tree of about a thousand levels, which KaTeX makes of some 150 nested roots. Parsers of HTML stop
// at 512 levels for the same reason.
const DEEPEST_FORMULA = 300;

// Longer ones stay plain: drawing them with each new word would take too long.
const LONGEST_FORMULA = 5_000;
const LONGEST_COLOURED = 20_000;

/**
 * Draws a growing text into `place`.
 *
 * Only the blocks that have changed are made anew: while text streams in, the last one. So a selection stays, and so
 * does a button that the reader is about to press.
 */
export class MarkdownView {
  #place;
  #blocks = [];
  #decorate;

  /** `decorate(fragment)` is called with each new block before it is shown. */
  constructor(place, decorate = () => {}) {
    this.#place = place;
    this.#decorate = decorate;
  }

  draw(text) {
    const wanted = blocks(text);
    let same = 0;
    while (same < wanted.length && same < this.#blocks.length && this.#blocks[same].html === wanted[same]) same += 1;
    for (const { nodes } of this.#blocks.splice(same)) for (const node of nodes) node.remove();
    for (const html of wanted.slice(same)) {
      const fragment = DOMPurify.sanitize(html, ALLOWED);
      prepare(fragment);
      this.#decorate(fragment);
      this.#blocks.push({ html, nodes: [...fragment.childNodes] });
      this.#place.append(fragment);
    }
  }
}

// The HTML of each block at the top level: a paragraph, a list, a table, a block of code.
function blocks(text) {
  const environment = {};
  const tokens = parser.parse(text, environment);
  const found = [];
  let start = 0;
  let depth = 0;
  tokens.forEach((token, index) => {
    if (token.type === "td_open" || token.type === "th_open") align(token);
    depth += token.nesting;
    if (depth > 0) return;
    found.push(parser.renderer.render(tokens.slice(start, index + 1), parser.options, environment));
    start = index + 1;
  });
  return found;
}

// The parser aligns a column by a style, which the security policy forbids.
function align(token) {
  const style = token.attrGet("style");
  if (style !== null) token.attrs = [["align", style.replace("text-align:", "")]];
}

function prepare(fragment) {
  for (const link of fragment.querySelectorAll("a")) {
    link.target = "_blank";
    link.rel = "noopener noreferrer nofollow";
  }
  for (const place of fragment.querySelectorAll(".math")) drawFormula(place);
  for (const code of fragment.querySelectorAll("pre > code")) colour(code);
  // A wide table scrolls by itself; the page does not.
  for (const table of fragment.querySelectorAll("table")) {
    const frame = document.createElement("div");
    frame.className = "table";
    frame.tabIndex = 0;
    table.replaceWith(frame);
    frame.append(table);
  }
}

function drawFormula(place) {
  const tex = place.textContent;
  const displayMode = place.classList.contains("display");
  if (tex.length <= LONGEST_FORMULA) {
    try {
      katex.render(tex, place, { ...FORMULAS, displayMode });
      if (depthOf(place) <= DEEPEST_FORMULA) {
        if (displayMode) place.tabIndex = 0; // a wide formula scrolls, also by keyboard
        return;
      }
    } catch {
      // Not yet complete, or not known to KaTeX.
    }
  }
  const source = document.createElement("code");
  source.textContent = tex.trim();
  place.replaceChildren(source);
}

// Without recursion, because the tree may be deeper than the stack.
function depthOf(root) {
  let deepest = 0;
  let depth = 0;
  for (let node = root; node !== null; ) {
    if (node.firstElementChild !== null) {
      node = node.firstElementChild;
      depth += 1;
      deepest = Math.max(deepest, depth);
      continue;
    }
    while (node !== root && node.nextElementSibling === null) {
      node = node.parentElement;
      depth -= 1;
    }
    node = node === root ? null : node.nextElementSibling;
  }
  return deepest;
}

/** Return the language that a block of code names, or "". */
export function languageOf(code) {
  return [...code.classList].find((name) => name.startsWith("language-"))?.slice("language-".length) ?? "";
}

function colour(code) {
  const language = languageOf(code);
  if (hljs.getLanguage(language) === undefined || code.textContent.length > LONGEST_COLOURED) return;
  const { value } = hljs.highlight(code.textContent, { language, ignoreIllegals: true });
  code.replaceChildren(DOMPurify.sanitize(value, ALLOWED));
}
