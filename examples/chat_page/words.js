// The texts of the page, in its languages.

const ENGLISH = {
  title: "Chat",
  newChat: "New chat",
  chats: "Chats",
  showChats: "Show chats",
  hideChats: "Hide chats",
  deleteChat: "Delete “{title}”",
  deleteSure: "Delete “{title}”? It cannot be brought back.",
  untitled: "New chat",
  conversation: "Conversation",
  greeting: "What would you like to know?",
  tryThis: "Or begin with one of these:",
  examples: ["Write a poem about the sea", "Count from 1 to 30", "What is 12 times 12?"],
  you: "You",
  model: "Answer",
  placeholder: "Ask anything",
  send: "Send",
  stop: "Stop",
  hint: "Enter sends, Shift+Enter begins a new line. The history stays in this browser.",
  hintTouch: "The history stays in this browser.",
  jump: "To the latest",
  copy: "Copy",
  copyCode: "Copy code",
  copied: "Copied",
  notCopied: "The browser does not allow it",
  again: "Answer again",
  continue: "Continue",
  continueRequest: "Continue your last answer exactly where it stopped. Repeat nothing.",
  edit: "Edit the question",
  editor: "The question",
  cancel: "Cancel",
  resend: "Send again",
  replaces: "The messages below are replaced.",
  export: "Save this chat as Markdown",
  modelChoice: "Model",
  retry: "Try again",
  retryIn: "Try again in {seconds} s",
  stopped: "Stopped",
  cutByLimit: "The answer has reached the model's limit of length.",
  filtered: "The service's filter blocked this answer.",
  tokens: "{count} tokens",
  details: "Details",
  requestId: "Request",
  sayWaiting: "The answer is coming.",
  sayAnswer: "Answer: {text}",
  sayStopped: "Stopped. The answer so far: {text}",
  noRoom: "The browser has no room left: this chat will be gone when the page is closed.",
  // An error that GigaChat reported to the site.
  failures: {
    400: "GigaChat did not accept this request.",
    401: "GigaChat does not accept this site at the moment. Please inform the owner of the site.",
    402: "This site has used up its GigaChat tokens for this model.",
    403: "GigaChat does not allow this to the site.",
    404: "GigaChat has no such model.",
    413: "The chat is longer than GigaChat's limit. Please begin a new chat.",
    422: "GigaChat did not accept this request.",
    429: "This site has reached GigaChat's limit of requests.",
    502: "No complete answer came from GigaChat.",
    503: "GigaChat is not available at the moment.",
    504: "GigaChat did not answer in time.",
    other: "GigaChat reported an error (status {status}).",
  },
  // An error of the site itself, or of a proxy in front of it.
  siteFailures: {
    400: "This site did not accept the request.",
    401: "This site asks you to sign in again.",
    403: "This site refused the request: reload the page and try again.",
    413: "The chat is longer than this site's limit. Please begin a new chat.",
    429: "You have reached this site's limit of requests.",
    502: "The server of this site is not available at the moment.",
    503: "The server of this site is not available at the moment.",
    504: "The server of this site did not answer in time.",
    other: "The server of this site reported an error (status {status}).",
  },
  connectionFailures: {
    network: "There is no connection to the server.",
    cut: "The connection broke off before the end of the answer.",
    strange: "The server's response is not an answer.",
  },
};

const RUSSIAN = {
  title: "Чат",
  newChat: "Новый чат",
  chats: "Чаты",
  showChats: "Показать чаты",
  hideChats: "Скрыть чаты",
  deleteChat: "Удалить «{title}»",
  deleteSure: "Удалить «{title}»? Вернуть его будет нельзя.",
  untitled: "Новый чат",
  conversation: "Разговор",
  greeting: "О чём поговорим?",
  tryThis: "Можно начать с одного из этих вопросов:",
  examples: ["Напиши стихотворение о море", "Посчитай от 1 до 30", "Сколько будет 12 × 12?"],
  you: "Вы",
  model: "Ответ",
  placeholder: "Спросите о чём угодно",
  send: "Отправить",
  stop: "Остановить",
  hint: "Enter отправляет, Shift+Enter переносит строку. История остаётся в этом браузере.",
  hintTouch: "История остаётся в этом браузере.",
  jump: "К последнему",
  copy: "Скопировать",
  copyCode: "Скопировать код",
  copied: "Скопировано",
  notCopied: "Браузер этого не разрешает",
  again: "Ответить заново",
  continue: "Продолжить",
  continueRequest: "Продолжи свой последний ответ ровно с того места, где он прервался. Ничего не повторяй.",
  edit: "Изменить вопрос",
  editor: "Вопрос",
  cancel: "Отменить",
  resend: "Отправить заново",
  replaces: "Сообщения ниже будут заменены.",
  export: "Сохранить чат в Markdown",
  modelChoice: "Модель",
  retry: "Повторить",
  retryIn: "Повторить через {seconds} с",
  stopped: "Остановлено",
  cutByLimit: "Ответ достиг предела длины, заданного для модели.",
  filtered: "Фильтр сервиса заблокировал этот ответ.",
  tokens: "Токенов: {count}",
  details: "Подробности",
  requestId: "Запрос",
  sayWaiting: "Ответ готовится.",
  sayAnswer: "Ответ: {text}",
  sayStopped: "Остановлено. Ответ на этот момент: {text}",
  noRoom: "В браузере не осталось места: этот чат исчезнет, когда страница будет закрыта.",
  // An error that GigaChat reported to the site.
  failures: {
    400: "GigaChat не принял этот запрос.",
    401: "GigaChat сейчас не принимает запросы этого сайта. Сообщите об этом владельцу сайта.",
    402: "У этого сайта закончились токены GigaChat для этой модели.",
    403: "GigaChat не разрешает этого сайту.",
    404: "Такой модели в GigaChat нет.",
    413: "Чат длиннее, чем допускает GigaChat. Начните новый чат.",
    422: "GigaChat не принял этот запрос.",
    429: "Этот сайт достиг ограничения GigaChat на число запросов.",
    502: "От GigaChat не пришёл полный ответ.",
    503: "GigaChat сейчас недоступен.",
    504: "GigaChat не ответил вовремя.",
    other: "GigaChat сообщил об ошибке (статус {status}).",
  },
  // An error of the site itself, or of a proxy in front of it.
  siteFailures: {
    400: "Сайт не принял этот запрос.",
    401: "Сайт просит войти заново.",
    403: "Сайт отклонил запрос: обновите страницу и повторите.",
    413: "Чат длиннее, чем допускает этот сайт. Начните новый чат.",
    429: "Вы достигли ограничения этого сайта на число запросов.",
    502: "Сервер этого сайта сейчас недоступен.",
    503: "Сервер этого сайта сейчас недоступен.",
    504: "Сервер этого сайта не ответил вовремя.",
    other: "На сервере этого сайта произошла ошибка (статус {status}).",
  },
  connectionFailures: {
    network: "Нет соединения с сервером.",
    cut: "Соединение оборвалось раньше, чем ответ закончился.",
    strange: "Сервер прислал что-то, что не является ответом.",
  },
};

const LANGUAGES = { en: ENGLISH, ru: RUSSIAN };

/** The first of the browser's languages that the page speaks. */
export const language =
  (navigator.languages ?? [navigator.language]).map((tag) => tag.slice(0, 2).toLowerCase()).find((tag) => tag in LANGUAGES) ??
  "en";

export const words = LANGUAGES[language];

/** `sentence` with its `{names}` filled in. */
export function fill(sentence, values) {
  return sentence.replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

// Errors of gigaclient that the service caused; an error of the site has the type of its framework, or none.
const OF_THE_SERVICE = /^(?!Internal|Config)\w+Error$/;

/** Return one sentence for a failure of `chat.js`. It says whose error or limit it is. */
export function sentenceFor({ kind, status, type }) {
  if (kind !== "status") return words.connectionFailures[kind] ?? words.connectionFailures.strange;
  const sentences = OF_THE_SERVICE.test(type ?? "") ? words.failures : words.siteFailures;
  return sentences[status] ?? fill(sentences.other, { status: status ?? "?" });
}
