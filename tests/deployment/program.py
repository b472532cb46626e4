"""A small program that uses what a client loads at first use; it is frozen and run by the tests of this folder."""

from __future__ import annotations

import json
import sys

from gigaclient import GigaChat

options = json.loads(sys.argv[-1])

with GigaChat(credentials=options["credentials"]):  # without options, the shipped certificate is trusted
    print("the certificate was found")
with GigaChat(**options) as giga:
    print(giga.chat("Say: whole").text)
    print(giga.chat.create("Say: second version").text)
    print("".join(giga.generate("Say: streamed")))
    print([result.text for result in giga.map(["Say: one", "Say: two"])])
