"""Hypothesis strategies for request heads: mostly right, with every kind of fault near at hand."""

from __future__ import annotations

from hypothesis import strategies as st

# The words alone: `fuzz.grammar` draws from them as well.
METHOD_WORDS = ["GET", "HEAD", "POST", "OPTIONS", "CONNECT", "PURGE", "get", "B@D", ""]
TARGET_WORDS = [
    *("/", "/a?b", "/%41%zz", "/%c3%a9", "//a/b", "*", "http://h/p?q", "http://h", "http://u@h/", "h:1", "a", "/ "),
    *("/#", "/\xe9", ""),
]
VERSION_WORDS = ["HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/1.10", "http/1.1", ""]
NAME_WORDS = [
    *("Host", "host", "Accept", "accept", "Cookie", "Connection", "Content-Length", "content-length", "Content-Type"),
    *("Transfer-Encoding", "Expect", "X-A", "x_a", "Content_Length", "Proxy", "Authorization", "X-Request-Id"),
    *("Bad Name", "", "A:B", "\xe9"),
]
VALUE_WORDS = [
    *("x", "a, b", "", " x ", "\tx\t", "close", "keep-alive", "Keep-Alive, TE", "5", "05", "+5", "5, 5", "1_0"),
    *("chunked", "Chunked", "gzip", "gzip, chunked", "100-continue", "100-Continue", "other", "example.com:80"),
    *("[::1]", "a b", "\x00", "\r", "\n", "\xe9"),
]

METHODS = st.sampled_from(METHOD_WORDS)
TARGETS = st.sampled_from(TARGET_WORDS)
VERSIONS = st.sampled_from(VERSION_WORDS)
NAMES = st.sampled_from(NAME_WORDS)
VALUES = st.sampled_from(VALUE_WORDS) | st.text(st.characters(max_codepoint=255), max_size=8)
LINES = st.tuples(NAMES, st.sampled_from([":", ": ", ": ", ": ", " : ", ""]), VALUES).map("".join)
REQUEST_LINES = st.just("GET / HTTP/1.1") | st.tuples(METHODS, TARGETS, VERSIONS).map(" ".join)
# Whole heads, from the request line to the empty line.
HEADS = st.builds(
    lambda first, host, lines: "".join(f"{line}\r\n" for line in [first, *host, *lines, ""]).encode("latin-1"),
    REQUEST_LINES,
    st.sampled_from([[], ["Host: x"], ["Host: x"], ["Host: x"]]),
    st.lists(LINES, max_size=6),
)
