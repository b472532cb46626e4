"""Our types under the names of the official SDK's ``gigachat.models.chat_completions``, those of API v2."""

# ruff: noqa: F403 - the modules of the types have the lists

from __future__ import annotations

from gigaclient import types
from gigaclient.types.chat_v2.calls import *
from gigaclient.types.chat_v2.content import *
from gigaclient.types.chat_v2.messages import *
from gigaclient.types.chat_v2.options import *
from gigaclient.types.chat_v2.request import *
from gigaclient.types.chat_v2.response import *
from gigaclient.types.chat_v2.tools import *

ChatCompletionChunk = types.ChatCompletionResponseChunk
