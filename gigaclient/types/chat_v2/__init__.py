"""Chat of API v2: messages with content parts, tools, and responses with several messages.

The constructors of request types accept several forms and convert them into one: a string for a message's content,
dicts for the types here, ``"image_generate"`` for a tool, ``True`` for a storage. A dict with unknown fields stays a
dict, and is sent unchanged.

Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/gigachat-api and recorded responses.
"""

# ruff: noqa: F403 - each module has the list of its types

from __future__ import annotations

from gigaclient.types.chat_v2.calls import *
from gigaclient.types.chat_v2.calls import result_object as result_object
from gigaclient.types.chat_v2.calls import same_call as same_call
from gigaclient.types.chat_v2.content import *
from gigaclient.types.chat_v2.messages import *
from gigaclient.types.chat_v2.messages import ASSISTANT as ASSISTANT
from gigaclient.types.chat_v2.messages import REASONING as REASONING
from gigaclient.types.chat_v2.options import *
from gigaclient.types.chat_v2.request import *
from gigaclient.types.chat_v2.response import *
from gigaclient.types.chat_v2.tools import *
from gigaclient.types.chat_v2.tools import TOOLS as TOOLS
from gigaclient.types.chat_v2.tools import named_tool as named_tool
from gigaclient.types.chat_v2.tools import specification as specification
