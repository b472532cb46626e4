"""Texts that the tests of the chat page show."""

from __future__ import annotations

MARKDOWN = """Поток событий — это **обычный** ответ HTTP, который *не спешит* заканчиваться: [описание](https://example.org/sse).

### Что в нём есть

3. Заголовок `text/event-stream`.
4. События: строки `data:` и пустая строка.
   - одно событие — один кусок текста;
   - последнее называется `done`.

```python
from gigaclient import GigaChat

with GigaChat() as giga:
    for text in giga.generate("Привет!"):
        print(text, end="", flush=True)
```

| Событие | Что оно значит |
| --- | ---: |
| `done` | ответ пришёл целиком |
| `error` | ответ оборвался |

> Текст модели никогда не становится разметкой страницы.
"""
