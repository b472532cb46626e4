"""A string that hides its value in logs and tracebacks."""

from __future__ import annotations

MASK = "***"


class Secret(str):
    """A key, token, password or header value that must not reach a log.

    It *is* the string, so HTTP libraries send it, but ``repr``, ``str`` and formatting give ``***``. So a traceback
    with local variables, a debugger or a log line shows the mask. :meth:`reveal` returns a plain string.
    """

    __slots__ = ()

    def __new__(cls, value: str) -> Secret:
        # str() of a secret is the mask, so a secret made from a secret must reveal it.
        return super().__new__(cls, value.reveal() if isinstance(value, Secret) else value)

    def __repr__(self) -> str:
        return f"'{MASK}'"

    def __str__(self) -> str:
        return MASK

    def __format__(self, format_spec: str) -> str:
        return format(MASK, format_spec)

    def reveal(self) -> str:
        """Return the plain string. Keep it out of local variables of code that can raise."""
        return str.__str__(self)

    def __reduce__(self) -> tuple[type[Secret], tuple[str]]:
        return type(self), (self.reveal(),)
