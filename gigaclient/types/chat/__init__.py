"""Chat of API v1, which both providers use.

Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/post-chat and recorded responses.
"""

# ruff: noqa: F403 - each module has the list of its types

from __future__ import annotations

from gigaclient.types.chat.messages import *
from gigaclient.types.chat.request import *
from gigaclient.types.chat.request import as_schema as as_schema
from gigaclient.types.chat.response import *
from gigaclient.types.chat.response import IN_PROGRESS as IN_PROGRESS
