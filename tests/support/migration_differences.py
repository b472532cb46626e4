"""The differences from the official SDK that are on purpose, as the pages on migration list them in both languages."""

from __future__ import annotations

# By the name that idioms use: the first cell of its row in docs/en/migration.md and in docs/ru/migration.md.
ROWS = {
    "constructor": ("a wrong type in a constructor raises", "неверный тип в конструкторе вызывает исключение"),
    "checked-before": (
        'a request is checked and converted before it is sent: `"0.5"` becomes 0.5, an unknown role raises',
        'запрос проверяется и преобразуется до отправки: `"0.5"` становится 0.5, неизвестная роль вызывает исключение',
    ),
    "role": ("`Messages` without a role raises", "`Messages` без роли вызывает исключение"),
    "odd-answers": (
        "a missing or odd field in an answer raises",
        "отсутствующее или странное поле в ответе вызывает исключение",
    ),
    "unknown-fields": ("unknown fields are dropped in v1", "неизвестные поля в v1 отбрасываются"),
    "new-fields": ("dumps have the fields that the official SDK knows", "в дампах — поля, известные официальному SDK"),
    "exclude-unset": ("`exclude_unset`", "`exclude_unset`"),
    "headers-in-dumps": ("`x_headers` is part of the dump", "`x_headers` входит в дамп"),
    "token-ids": (
        "`get_token().x_headers` has the ids of the response",
        "в `get_token().x_headers` идентификаторы ответа",
    ),
    "function-schema": (
        "the schema of a function is an object that keeps five keywords of a property, and adds `type`",
        "схема функции — объект, который сохраняет пять ключевых слов свойства и добавляет `type`",
    ),
    "filled-in": (
        "a request is filled in when it is sent (`chat.model = …`)",
        "при отправке запрос дополняется (`chat.model = …`)",
    ),
    "class-names": ('`Messages.__name__` is `"Messages"`', '`Messages.__name__` — `"Messages"`'),
    "pydantic": (
        "`isinstance(answer, pydantic.BaseModel)`, validators, `model_fields`, `model_fields_set`, `model_construct`",
        "`isinstance(answer, pydantic.BaseModel)`, валидаторы, `model_fields`, `model_fields_set`, `model_construct`",
    ),
    "no-model": ("no model: `ModelNotSpecifiedError`", "модель не указана: `ModelNotSpecifiedError`"),
    "timeout": ("`timeout` of 30 seconds", "`timeout` 30 секунд"),
    "retries": ("`max_retries=0`", "`max_retries=0`"),
    "retried-statuses": (
        "429 and 5xx are retried even if `retry_on_status_codes` does not list them",
        "429 и 5xx повторяются, даже если их нет в `retry_on_status_codes`",
    ),
    "new-token": ("401 for a new token raises", "401 с новым токеном вызывает исключение"),
    "stream-starts": (
        "a stream sends its request when its first chunk is read",
        "потоковый запрос отправляется при чтении первого фрагмента",
    ),
    "stream-again": (
        "a broken stream starts again: its text comes twice",
        "оборванный потоковый ответ начинается заново: текст приходит дважды",
    ),
    "stream-cut": ("a stream that is cut ends as if it were whole", "обрезанный потоковый ответ завершается как целый"),
    "network": ("`httpx` errors for network problems", "ошибки `httpx` при проблемах с сетью"),
    "refused-key": (
        "a refused key is an error of its status, 400 or 401",
        "непринятый ключ — ошибка с её статусом, 400 или 401",
    ),
    "no-key": ("a call without a key is sent, and gets 401", "вызов без ключа отправляется и получает 401"),
    "no-token": (
        "`get_token()` returns None if there is no way to get a token",
        "`get_token()` возвращает None, если токен получить нельзя",
    ),
    "key-and-user": (
        "a key in the environment wins over `user=` and `password=`",
        "ключ из окружения важнее `user=` и `password=`",
    ),
    "wrong-arguments": (
        "`pydantic.ValidationError`, `TypeError` or `RuntimeError` for wrong arguments and a closed client",
        "`pydantic.ValidationError`, `TypeError` или `RuntimeError` для неверных аргументов и закрытого клиента",
    ),
    "unreadable-answer": (
        "`json.JSONDecodeError`, `pydantic.ValidationError` for an answer that cannot be read",
        "`json.JSONDecodeError`, `pydantic.ValidationError` для ответа, который нельзя прочитать",
    ),
    "code-block": ("JSON in a code block is an error of `chat_parse`", "JSON в блоке кода — ошибка `chat_parse`"),
    "retry-after": (
        "`RateLimitError.retry_after` is 0.0 if the server sends none",
        "`RateLimitError.retry_after` равен 0.0, если сервер его не прислал",
    ),
    "error-text": ("`str(error)` has the body and the headers", "в `str(error)` тело и заголовки"),
    "similar-names": ("404 for a model costs one request", "404 для модели стоит одного запроса"),
    "unknown-arguments": (
        "unknown arguments are logged and ignored",
        "неизвестные аргументы пишутся в журнал и игнорируются",
    ),
    "odd-key": ("a key that is not base64 is logged", "о ключе не в base64 пишется в журнал"),
    "bundle-unused": (
        "`verify_ssl_certs=False` with `ca_bundle_file` uses the bundle",
        "`verify_ssl_certs=False` вместе с `ca_bundle_file` использует файл",
    ),
    "expiry-buffer": ("`GIGACHAT_TOKEN_EXPIRY_BUFFER_MS`", "`GIGACHAT_TOKEN_EXPIRY_BUFFER_MS`"),
    "empty": ("empty strings count as settings", "пустые строки считаются настройками"),
    "list-alone": ("a list of messages alone raises", "список сообщений без запроса вызывает исключение"),
    "request-id": (
        "a request has an `X-Request-ID` only if you set one",
        "`X-Request-ID` есть в запросе, только если вы его задали",
    ),
    "nulls": (
        "requests to assistants and threads have null for fields that are not set",
        "в запросах к ассистентам и тредам незаданные поля равны null",
    ),
    "deletion": ("`delete_file` sends a form with the id", "`delete_file` отправляет форму с идентификатором"),
    "async": (
        "`GigaChatAsyncClient`, `async with`, `achat`, `astream`, `aget_models` and so on",
        "`GigaChatAsyncClient`, `async with`, `achat`, `astream`, `aget_models` и так далее",
    ),
    "internals": (
        "`gigachat.api`, `gigachat.authentication`, `gigachat.retry`",
        "`gigachat.api`, `gigachat.authentication`, `gigachat.retry`",
    ),
    "earlier-arguments": (
        "arguments of its earlier versions: `use_auth`, `verbose`",
        "аргументы прежних версий: `use_auth`, `verbose`",
    ),
}
