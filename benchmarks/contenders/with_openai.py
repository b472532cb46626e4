"""openai's SDK, synchronous client: for another API of the same shape."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

from openai import DefaultHttpxClient, OpenAI


class Client:
    def __init__(self, base_url: str, ca_file: str, auth_url: str | None = None) -> None:
        if auth_url is not None:
            raise NotImplementedError("openai has keys, no tokens to renew")
        transport = DefaultHttpxClient(verify=ssl.create_default_context(cafile=ca_file))
        self._openai = OpenAI(api_key="token", base_url=base_url, http_client=transport)

    def call(self) -> str:
        answer = self._openai.chat.completions.create(
            model="GigaChat-2", messages=[{"role": "user", "content": "Hello"}]
        )
        return answer.choices[0].message.content or ""

    def stream(self) -> Iterator[str]:
        chunks = self._openai.chat.completions.create(
            model="GigaChat-2", messages=[{"role": "user", "content": "Hello"}], stream=True
        )
        for chunk in chunks:
            yield chunk.choices[0].delta.content or ""
