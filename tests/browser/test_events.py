"""The page's parser of event streams, run in a real browser."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from support.browser import Browser, ChatPage

EVENTS = [
    {"name": "message", "data": '{"text": "Привет, "}'},
    {"name": "message", "data": '{"text": "мир 🌍\u2028e\u0301"}'},
    {"name": "error", "data": "first\n\n third"},
    {"name": "message", "data": ""},
    {"name": "done", "data": '{"finish_reason": "stop"}'},
]
# All features of the format: a comment, a space or none after the colon, several lines of data, a field without a
# colon, unknown fields, an event without data, and one that the end of the stream cuts off.
LINES = [
    ": ping", "", 'data: {"text": "Привет, "}', "", 'data:{"text": "мир 🌍\u2028e\u0301"}', "id: 7", "retry: 10", "",
    "event: error", "data: first", "data", "data:  third", "", "event: nothing", "", "data:", "", "other: field", ":",
    'data: {"finish_reason": "stop"}', "event:done", "", "data: never finished",
]  # fmt: skip

PARSE = """
    const { EventParser } = await import("/events.js");
    const bytes = Uint8Array.from(atob(args[0]), (letter) => letter.charCodeAt(0));
    const parse = (cuts) => {
        const events = [];
        const parser = new EventParser((event) => events.push(event));
        let start = 0;
        for (const cut of [...cuts, bytes.length]) {
            parser.push(bytes.subarray(start, cut));
            start = cut;
        }
        return events;
    };
"""


def parsed(browser: Browser, stream: bytes, script: str) -> Any:
    return browser.run_async(PARSE + script, base64.b64encode(stream).decode())


@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "byte-order-mark"])
@pytest.mark.parametrize("line_end", ["\n", "\r", "\r\n"], ids=["LF", "CR", "CRLF"])
def test_every_cut_in_two_and_in_three_gives_the_same_events(
    browser: Browser, page: ChatPage, line_end: str, mark: str
) -> None:
    stream = (mark + "".join(line + line_end for line in LINES)).encode()
    result = parsed(
        browser,
        stream,
        """
            const complete = parse([]);
            const expected = JSON.stringify(complete);
            let tries = 0;
            for (let one = 0; one <= bytes.length; one += 1) {
                for (let other = one; other <= bytes.length; other += 1) {
                    tries += 1;
                    const events = parse([one, other]);
                    if (JSON.stringify(events) !== expected) return {complete, tries, cuts: [one, other], events};
                }
            }
            return {complete, tries};
        """,
    )
    assert result["complete"] == EVENTS
    assert result.get("cuts") is None, result
    assert result["tries"] == (len(stream) + 1) * (len(stream) + 2) // 2


def test_byte_by_byte_gives_the_same_events(browser: Browser, page: ChatPage) -> None:
    stream = "".join(line + "\r\n" for line in LINES).encode()
    assert parsed(browser, stream, "return parse([...bytes.keys()])") == EVENTS


def test_line_ends_may_be_of_all_kinds_in_one_stream(browser: Browser, page: ChatPage) -> None:
    stream = b"data: one\r\rdata: two\n\ndata: three\r\n\r\ndata: four\r\n\ndata: five\n\r\ndata: six\r\r\n"
    expected = [{"name": "message", "data": word} for word in ("one", "two", "three", "four", "five", "six")]
    assert parsed(browser, stream, "return parse([])") == expected
    assert parsed(browser, stream, "return parse([...bytes.keys()])") == expected


def test_a_long_line_takes_time_in_proportion_to_its_length(browser: Browser, page: ChatPage) -> None:
    # A parser that scans the whole line again for every piece would need an hour.
    result = parsed(
        browser,
        b"",
        """
            let length = 0;
            const parser = new EventParser(({data}) => { length = data.length; });
            const encoder = new TextEncoder();
            parser.push(encoder.encode("data: "));
            for (let piece = 0; piece < 200000; piece += 1) parser.push(encoder.encode("a".repeat(100)));
            parser.push(encoder.encode("\\n\\n"));
            return length;
        """,
    )
    assert result == 20_000_000
