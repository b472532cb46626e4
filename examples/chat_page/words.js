// What the page says, in the languages it speaks.

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
  retry: "Try again",
  retryIn: "Try again in {seconds} s",
  stopped: "Stopped",
  cutByLimit: "The answer has reached the model's limit of length.",
  filtered: "The service's filter blocked this answer.",
  thinking: "The model is thinking",
  tokens: "{count} tokens",
  details: "Details",
  requestId: "Request",
  sayWaiting: "The answer is coming.",
  sayAnswer: "Answer: {text}",
  sayStopped: "Stopped. The answer so far: {text}",
  noRoom: "The browser has no room left: this chat will be gone when the page is closed.",
  failures: {
    400: "GigaChat did not accept this request.",
    401: "GigaChat did not accept the server's key: check GIGACHAT_CREDENTIALS.",
    402: "There are no tokens left on the account for this model.",
    403: "The request was refused: reload the page and try again.",
    404: "The server has no such model.",
    413: "The conversation has become too long for the model: begin a new chat.",
    422: "GigaChat did not accept this request.",
    429: "Too many requests at the moment.",
    500: "The server has failed.",
    502: "No whole answer came from GigaChat.",
    503: "GigaChat is not available at the moment.",
    504: "GigaChat did not answer in time.",
    other: "The answer failed (status {status}).",
    network: "There is no connection to the server.",
    cut: "The connection broke off before the end of the answer.",
    strange: "The server answered with something that is not an answer.",
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
  retry: "Повторить",
  retryIn: "Повторить через {seconds} с",
  stopped: "Остановлено",
  cutByLimit: "Ответ достиг предела длины, заданного для модели.",
  filtered: "Фильтр сервиса заблокировал этот ответ.",
  thinking: "Модель думает",
  tokens: "Токенов: {count}",
  details: "Подробности",
  requestId: "Запрос",
  sayWaiting: "Ответ готовится.",
  sayAnswer: "Ответ: {text}",
  sayStopped: "Остановлено. Ответ на этот момент: {text}",
  noRoom: "В браузере не осталось места: этот чат исчезнет, когда страница будет закрыта.",
  failures: {
    400: "GigaChat не принял этот запрос.",
    401: "GigaChat не принял ключ сервера: проверьте GIGACHAT_CREDENTIALS.",
    402: "На счёте не осталось токенов для этой модели.",
    403: "В запросе отказано: обновите страницу и повторите.",
    404: "Такой модели на сервере нет.",
    413: "Разговор стал слишком длинным для модели: начните новый чат.",
    422: "GigaChat не принял этот запрос.",
    429: "Сейчас слишком много запросов.",
    500: "На сервере произошла ошибка.",
    502: "От GigaChat не пришёл целый ответ.",
    503: "GigaChat сейчас недоступен.",
    504: "GigaChat не ответил вовремя.",
    other: "Ответ не удался (статус {status}).",
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

/** One sentence for a failure of `chat.js`. */
export function sentenceFor({ kind, status }) {
  if (kind !== "status") return words.failures[kind] ?? words.failures.strange;
  return words.failures[status] ?? fill(words.failures.other, { status: status ?? "?" });
}
