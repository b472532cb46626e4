"""A bare ``requests.Session`` with ``iter_lines`` and ``json``."""

from __future__ import annotations

import json
from collections.abc import Iterator

import requests

from benchmarks.contenders import byhand


class Client:
    def __init__(self, base_url: str, ca_file: str, auth_url: str | None = None) -> None:
        self._url = base_url + "/chat/completions"
        self._auth_url = auth_url
        self._session = requests.Session()
        self._session.verify = ca_file
        self._token = byhand.Token(None if auth_url is None else self._fetch)

    def _fetch(self) -> tuple[str, float]:
        answer = self._session.post(
            str(self._auth_url), data=byhand.OAUTH_BODY, headers=byhand.OAUTH_HEADERS, timeout=30
        ).json()
        return answer["access_token"], answer["expires_at"]

    def call(self) -> str:
        response = self._session.post(
            self._url, json=byhand.REQUEST, headers={"Authorization": self._token.header()}, timeout=30
        )
        response.raise_for_status()
        text: str = response.json()["choices"][0]["message"]["content"]
        return text

    def upload(self, path: str) -> None:
        headers = {"Authorization": self._token.header()}
        with open(path, "rb") as file:
            self._session.post(
                self._url, files={"file": file}, data={"purpose": "general"}, headers=headers, timeout=60
            ).raise_for_status()

    def download(self, path: str) -> None:
        headers = {"Authorization": self._token.header()}
        with self._session.get(self._url, headers=headers, stream=True, timeout=60) as response:
            response.raise_for_status()
            with open(path, "wb") as file:
                for block in response.iter_content(64 * 1024):
                    file.write(block)

    def stream(self) -> Iterator[str]:
        headers = {"Authorization": self._token.header()}
        with self._session.post(self._url, json=byhand.STREAMED, headers=headers, stream=True, timeout=30) as response:
            response.raise_for_status()
            for line in response.iter_lines():
                if line.startswith(b"data: ") and line != b"data: [DONE]":
                    yield json.loads(line[6:])["choices"][0]["delta"].get("content", "")
