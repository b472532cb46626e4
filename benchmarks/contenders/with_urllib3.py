"""A raw urllib3 pool and ``json``."""

from __future__ import annotations

import json
from collections.abc import Iterator

import urllib3

from benchmarks.contenders import byhand


class Client:
    def __init__(self, base_url: str, ca_file: str, auth_url: str | None = None) -> None:
        self._url = base_url + "/chat/completions"
        self._auth_url = auth_url
        self._pool = urllib3.PoolManager(ca_certs=ca_file, maxsize=64, timeout=30, retries=False)
        self._token = byhand.Token(None if auth_url is None else self._fetch)

    def _fetch(self) -> tuple[str, float]:
        answer = self._pool.request(
            "POST", str(self._auth_url), body=byhand.OAUTH_BODY, headers=byhand.OAUTH_HEADERS
        ).json()
        return answer["access_token"], answer["expires_at"]

    def _headers(self) -> dict[str, str]:
        return {**byhand.HEADERS, "Authorization": self._token.header()}

    def call(self) -> str:
        response = self._pool.request("POST", self._url, body=json.dumps(byhand.REQUEST), headers=self._headers())
        if response.status != 200:
            raise RuntimeError(f"status {response.status}")
        text: str = json.loads(response.data)["choices"][0]["message"]["content"]
        return text

    def stream(self) -> Iterator[str]:
        response = self._pool.request(
            "POST", self._url, body=json.dumps(byhand.STREAMED), headers=self._headers(), preload_content=False
        )
        if response.status != 200:
            raise RuntimeError(f"status {response.status}")
        pending: list[bytes] = []  # of a line without its end
        for block in _blocks(response):
            if b"\n" not in block:
                pending.append(block)
                continue
            *lines, rest = b"".join([*pending, block]).split(b"\n")
            pending = [rest]
            for line in lines:
                if line.startswith(b"data: ") and line != b"data: [DONE]":
                    yield json.loads(line[6:])["choices"][0]["delta"].get("content", "")
        response.release_conn()


def _blocks(response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    if response.headers.get("transfer-encoding") == "chunked":
        yield from response.stream()
        return
    while block := response.read1(65536):
        yield block
