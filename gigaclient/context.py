"""Context variables that change the calls made in their context, named as in the official SDK.

Set one in a web view, a task or a function, and every call within it sends the header. The exceptions are
``chat_url_cvar`` and ``chat_completions_url_cvar``, which replace the path of a chat request. A call argument of the
same name wins. ``authorization_cvar`` holds a whole header value with its scheme (``"Bearer …"``). It replaces the
client's token for those calls, and no token is refreshed for them.

Source: the request headers of https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/gigachat-api and the
module ``gigachat.context`` of the official SDK (names only).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar

__all__ = [
    "agent_id_cvar",
    "authorization_cvar",
    "chat_completions_url_cvar",
    "chat_url_cvar",
    "client_id_cvar",
    "custom_headers_cvar",
    "operation_id_cvar",
    "request_id_cvar",
    "service_id_cvar",
    "session_id_cvar",
    "trace_id_cvar",
]

authorization_cvar: ContextVar[str | None] = ContextVar("authorization_cvar", default=None)
client_id_cvar: ContextVar[str | None] = ContextVar("client_id_cvar", default=None)
session_id_cvar: ContextVar[str | None] = ContextVar("session_id_cvar", default=None)
request_id_cvar: ContextVar[str | None] = ContextVar("request_id_cvar", default=None)
service_id_cvar: ContextVar[str | None] = ContextVar("service_id_cvar", default=None)
operation_id_cvar: ContextVar[str | None] = ContextVar("operation_id_cvar", default=None)
trace_id_cvar: ContextVar[str | None] = ContextVar("trace_id_cvar", default=None)
agent_id_cvar: ContextVar[str | None] = ContextVar("agent_id_cvar", default=None)
custom_headers_cvar: ContextVar[Mapping[str, str] | None] = ContextVar("custom_headers_cvar", default=None)
chat_url_cvar: ContextVar[str] = ContextVar("chat_url_cvar", default="/chat/completions")
chat_completions_url_cvar: ContextVar[str | None] = ContextVar("chat_completions_url_cvar", default=None)
