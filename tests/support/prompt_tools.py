"""Helpers for the tests of prompts, templates and files of prompts."""

from __future__ import annotations

from typing import Any

import pytest

from gigaclient.bulk.prompts import Prompts
from gigaclient.errors import ConfigError

CONVERSATION = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]


def prompts_of(prompts: Any, template: Any = None) -> list[Any]:
    """Return the prompt of each input."""
    found = Prompts(prompts, template)
    return [found.prompt_for(one) for one in found]


def refusal(prompts: Any, template: Any = None) -> str:
    """Return the error for ``prompts`` that are refused before any of them is read."""
    with pytest.raises(ConfigError) as caught:
        Prompts(prompts, template)
    return str(caught.value)


def refusal_of(input_: Any, template: Any = None) -> str:
    """Return the error for one input."""
    with pytest.raises(ConfigError) as caught:
        Prompts([], template).prompt_for(input_)
    return str(caught.value)
