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

FORMULAS = r"""Теорема Пифагора: $a^2 + b^2 = c^2$. Билет стоит от $5 до $6. Энергия: $$E = mc^2$$
и угол \( \alpha_i \).

\[
\int_0^\infty e^{-x^2}\,dx = \frac{\sqrt{\pi}}{2} + \sum_{n=1}^{N} \begin{pmatrix} a & b \\ c & d \end{pmatrix}
+ \underbrace{x_1 + x_2 + \dots + x_n}_{n}
\]

| формула | смысл |
| --- | --- |
| $\frac{1}{2}$ | половина |

Неизвестная команда: $\unknown{x}$. Код: `$x$`.
"""
