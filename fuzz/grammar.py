"""Streams of requests from a grammar of HTTP/1.1, with the faults that are known to have mattered near at hand.

A stream is one of five kinds: one to three requests built part by part, each part right most of the time; a request of
the wire corpus, damaged; requests of a few browsers, each like those before it but for a line or two, so that what is
remembered of heads is used, and then damaged; something near a limit; noise. Ten microseconds or so a stream: so there
are no strategy objects here.

`streams(seed)` gives the same streams for the same seed, as long as the words and the wire corpus stay what they are.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import wire_corpus
from wire_strategies import VALUE_WORDS

from .words import (
    CHUNK_ENDS,
    CODINGS,
    COLONS,
    ENDS,
    GREETINGS,
    HOSTS,
    LASTS,
    LENGTHS,
    METHODS,
    NAMES,
    OTHERS,
    SIZES,
    SPACES,
    SPECIAL,
    TARGETS,
    TRAILERS,
    VERSIONS,
)  # fmt: skip

if TYPE_CHECKING:
    from collections.abc import Iterator

CORPUS = [case.request for case in wire_corpus.load() if len(case.request) < 4000]


class Grammar:
    """Draws streams; everything random comes from `random.Random(seed)`."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed).random
        self._count = 0

    def one_of(self, words: list[str]) -> str:
        return words[int(self._random() * len(words))]

    def upto(self, limit: int) -> int:
        """0 to limit - 1."""
        return int(self._random() * limit)

    def stream(self) -> bytes:
        """The next one."""
        self._count += 1
        kind = self._random()
        if kind < 0.45:
            return "".join([self.request(number) for number in range(1 + self.upto(3) * self.upto(2))]).encode(
                "latin-1"
            )
        if kind < 0.887:
            return self.damaged(CORPUS[self.upto(len(CORPUS))])
        if kind < 0.987:
            heads = "".join([self.familiar() for _ in range(1 + self.upto(4))]).encode("latin-1")
            return heads if self._random() < 0.7 else self.damaged(heads)
        if kind < 0.99:
            return self.large().encode("latin-1")
        return self.noise()

    def request(self, number: int) -> str:
        """A request, each part right most of the time. Its marks name it among all."""
        some, one_of = self._random, self.one_of
        mark = f"{self._count}.{number}"
        wrong = some() < 0.5  # nothing at all is wrong with half of them
        if wrong and some() < 0.4:
            first = (
                one_of(METHODS) + one_of(SPACES) + one_of(TARGETS) + one_of(SPACES) + one_of(VERSIONS) + one_of(ENDS)
            )
        else:
            first = f"{one_of(METHODS[:4])} /{mark}?{mark} HTTP/1.{'0' if some() < 0.1 else '1'}\r\n"
        lines = [f"X-Mark: {mark}\r\n"]
        host = one_of(HOSTS) if wrong and some() < 0.3 else "x"
        if some() < 0.95:
            lines.append(f"Host: {host}\r\n")
        body = self._framed(lines, wrong)
        while some() < 0.4:
            if not wrong:
                lines.append(f"{one_of(NAMES[4:6])}-{self.upto(9)}: {mark}{self.upto(9)}\r\n")
            elif some() < 0.5:
                lines.append(one_of(OTHERS) + one_of(ENDS))
            else:
                lines.append(one_of(NAMES) + one_of(COLONS) + one_of(VALUE_WORDS) + one_of(ENDS))
        if wrong and some() < 0.3:
            lines.append(lines.pop(self.upto(len(lines))))
        return first + "".join(lines) + (one_of(ENDS) if wrong else "\r\n") + body

    def _framed(self, lines: list[str], wrong: bool) -> str:
        """A body, and into `lines` what says how long it is."""
        some, one_of = self._random, self.one_of
        kind = some()
        body = "hello"
        if kind < 0.35:
            return ""
        if kind < 0.65:
            length = one_of(LENGTHS) if wrong and some() < 0.5 else "5"
            lines.append("Content-Length" + (one_of(COLONS) if wrong and some() < 0.2 else ": ") + length + "\r\n")
            if not wrong or some() < 0.7:
                return body
        coding = one_of(CODINGS) if wrong and some() < 0.4 else "chunked"
        lines.append("Transfer-Encoding" + (one_of(COLONS) if wrong and some() < 0.2 else ": ") + coding + "\r\n")
        chunks = []
        odd = wrong and some() < 0.6
        while some() < 0.6:
            chunks.append(f"{one_of(SIZES)}{one_of(ENDS)}{body}{one_of(CHUNK_ENDS)}" if odd else f"5\r\n{body}\r\n")
        chunks.append(one_of(LASTS) + one_of(ENDS) if odd else "0\r\n")
        while some() < 0.15:
            chunks.append((one_of(TRAILERS) if wrong else "X-T: t") + "\r\n")
        return "".join(chunks) + (one_of(ENDS) if odd else "\r\n")

    def familiar(self) -> str:
        """A request of one of a few browsers: its lines are always the same but for those that never are."""
        some, upto = self._random, self.upto
        browser = upto(6)
        lines = [f"GET /page{upto(4)}{f'?{self._count}' * upto(2)} HTTP/1.1", "Host: example.com"]
        lines += [f"User-Agent: browser {browser}", "Accept: */*", "Accept-Language: en", "Connection: keep-alive"]
        lines += [f"X-Browser: {browser}"] * (browser % 3)
        if browser > 2:
            lines.append("Upgrade-Insecure-Requests: 1")
        if browser != 1:
            lines.append(f"Cookie: session={self._count}; a={upto(3)}" if some() < 0.9 else "Cookie: a=b")
        if browser in (2, 4):
            lines.append(f"traceparent: 00-{self._count:032x}-{upto(99):016x}-01")
        if some() < 0.1:
            lines.insert(1 + upto(len(lines)), self.one_of(OTHERS))
        if some() < 0.1:
            lines.append(lines.pop(1 + upto(len(lines) - 1)))
        return "\r\n".join(lines) + "\r\n\r\n"

    def damaged(self, data: bytes) -> bytes:
        """Something was done to it; perhaps a good request is behind it."""
        while True:
            size = len(data)
            at = self.upto(size + 1)
            kind = self._random()
            if kind < 0.35:
                data = data[:at] + self.one_of(SPECIAL).encode("latin-1") + data[at:]
            elif kind < 0.55:
                data = data[:at] + bytes((self.upto(256),)) + data[at + 1 :]
            elif kind < 0.7:
                data = data[:at] + data[at + 1 + self.upto(4) :]
            elif kind < 0.8:
                data = data[:at] + data[at - self.upto(20) : at] * (1 + self.upto(3)) + data[at:]
            elif kind < 0.9:
                lines = data.split(b"\r\n")
                lines.insert(self.upto(len(lines)), lines[self.upto(len(lines))])
                data = b"\r\n".join(lines)
            else:
                other = CORPUS[self.upto(len(CORPUS))]
                data = data[:at] + other[self.upto(len(other)) :]
            if self._random() < 0.6 or len(data) > 8000:
                break
        if self._random() < 0.4:
            mark = self._count
            data += f"GET /{mark} HTTP/1.1\r\nHost: x\r\nX-Mark: {mark}\r\n\r\n".encode()
        return data

    def large(self) -> str:
        """Near a limit: long lines, many fields, many chunks, many extensions."""
        kind = self.upto(7)
        host = "POST / HTTP/1.1\r\nHost: x\r\n"
        if kind == 0:
            return f"GET /{'a' * (8150 + self.upto(60))} HTTP/1.1\r\nHost: x\r\n\r\n"
        if kind == 1:
            return host + "".join(f"X-{n}: {n}\r\n" for n in range(95 + self.upto(8))) + "\r\n"
        if kind == 2:
            return f"{host}X: {'v' * (16370 + self.upto(30))}\r\n\r\n"
        chunked = host + "Transfer-Encoding: chunked\r\n\r\n"
        if kind == 3:
            return chunked + f"1;{'a' * (4080 + self.upto(30))}\r\nx\r\n0\r\n\r\n"
        if kind == 4:
            return chunked + "1\r\nx\r\n" * self.upto(2000) + "0\r\n\r\n"
        if kind == 5:
            return chunked + f"1;{'e' * self.upto(200)}\r\nx\r\n" * 100 + "0\r\n\r\n"
        return chunked + "0\r\n" + f"X-T: {'t' * self.upto(300)}\r\n" * (60 + self.upto(45)) + "\r\n"

    def noise(self) -> bytes:
        """Another protocol, or anything."""
        data = self.one_of(GREETINGS).encode("latin-1") if self._random() < 0.5 else b""
        return data + bytes(self.upto(256) for _ in range(self.upto(60)))

    def cuts(self, size: int) -> list[int]:
        """Where a stream of `size` bytes is cut, in order."""
        kind = self._random()
        if kind < 0.02 and size <= 400:
            return list(range(1, size))
        if kind < 0.1 and size:
            step = 1 + self.upto(size)
            return list(range(step, size, max(step, size // 20)))
        return sorted(1 + self.upto(size) for _ in range(1 + self.upto(3)))


def streams(seed: int) -> Iterator[tuple[bytes, list[int]]]:
    """Streams, and where each is to be cut."""
    grammar = Grammar(seed)
    while True:
        data = grammar.stream()
        yield data, grammar.cuts(len(data))
