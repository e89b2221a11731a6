"""The words of the grammar: parts of a request, right ones and every kind of fault that is known to have mattered.

A list of words is written as text, `|` between them, with Python's escapes. Some right words stand there several times.
"""

from __future__ import annotations

from wire_strategies import METHOD_WORDS, NAME_WORDS, TARGET_WORDS, VERSION_WORDS


def words(text: str, *more: str) -> list[str]:
    """The words of a text, and more."""
    return [*text.encode("latin-1").decode("unicode_escape").split("|"), *more]


METHODS = METHOD_WORDS + words(r"PUT|DELETE|PATCH|TRACE|PRI|GPOST|G\tT", "M" * 32, "M" * 33)
TARGETS = TARGET_WORDS + words(
    r"/a/b/../c|/a;b=c|/%2e%2e/|/%00|/%0d%0aX:%20y|/a%|/a%2|/a\\b|/a\tb|/?a=%zz|/a??b#c|http://[::1]:80/x|"
    r"HTTP://H|http://a:b/|http://a b/|https://h?q|ftp://h/|http:/h|http:///|*?|**|/*|[::1]:443|:80|"
    r"http://h:65536/|//|/./|/\x7f|/\x80|?|#"
)
VERSIONS = VERSION_WORDS + words(r"HTTP/1.2|HTTP/0.9|HTTP/3.0|HTTP/1.1 |HTTP/1.1\t| HTTP/1.1|HTTP/11|ICAP/1.0")
SPACES = [" "] * 9 + words(r"  |\t|\x0b|\xa0||\r|\n")
ENDS = ["\r\n"] * 40 + words(r"\n|\r|\n\r|\r\r\n|\r\n |\r\n\t||\x00\r\n| \r\n")
COLONS = [": "] * 20 + words(r":|:\t| :|\t: |\x0b: |::|| |: \r\n |\r\n: |:\x00|:\xa0")
NAMES = NAME_WORDS + words(
    r"Transfer_Encoding|Transfer-Encoding |Transfer\tEncoding|Transfer Encoding|Transf\x82r-Encoding|"
    r"Content-Length |Content Length|\x00Content-Length|X|TE|Trailer|Upgrade|Keep-Alive|Range|X-Forwarded-For|"
    r"X_Forwarded_For|Forwarded|HTTP_HOST|Content-Encoding|Proxy-Connection|Via|HTTP2-Settings|:path|:authority|"
    r"GET / HTTP/1.1|x-A|X-a",
    "X-Long-" + "n" * 70,
)
CODINGS = words(
    r"chunked|chunked|Chunked|CHUNKED|xchunked|chunked, identity|identity, chunked|chunked,|,chunked|"
    r"""chunked;q=1|"chunked"|'chunked'|chunk|\x0bchunked|chunked\x0b|chunked\x00|chunked\t|\x85chunked|"""
    r"\xa0chunked|ch\x96nked|gzip|gzip, chunked|chunked, chunked|identity||x chunked|\r\n chunked|\n chunked|"
    r"chunked\r|deflate,\tchunked|0|chunked-not|\xffchunked|chunked\r\n\tx"
)
LENGTHS = words(
    r'0|1|5|5|5|10|005|+5|-5|-0| 5|5 |5\t|5,5|5, 6|0x5|5.0|5e0|1_0|\xb2|\xd9\xa5||5\x00|5\r|\n5|5;q|"5"|1 0|'
    r"999999999999999999|9999999999999999999|18446744073709551616|18446744073709551621|4294967301|1048577|NaN|"
    r"inf|5\x0b|\x855",
    "9" * 400,
)
HOSTS = words(
    r"x|x|x|example.com|a:80|a:|[::1]:80|[::1|a b|a,b|a/b|a@b||a:b|a\x00|\xe9|a%41|a%zz|127.0.0.1:65536|"
    r"evil\r\nX: y|a?b|a#b|[::ffff:1.2.3.4]|[v1.a]",
    "a" * 255,
    "a" * 256,
)
OTHERS = words(
    r"Expect: 100-continue|Expect: 100-continue, x|Expect:|Expect: y 100-continue|Expect: 100-continue\x0b|"
    r"Connection: close|Connection: keep-alive|Connection: Content-Length|Connection: Transfer-Encoding, close|"
    r"Connection: close, keep-alive|Connection: Host|Upgrade: h2c|Connection: Upgrade, HTTP2-Settings|"
    r"Range: bytes=0-|Cookie: a=b|Cookie: c=d; e|Authorization: Basic YTpi|Content-Type: text/plain|"
    r"X-A: 1\nTransfer-Encoding: chunked|X: y\rZ: w|Foo: bar\r\n Transfer-Encoding: chunked|"
    r"Foo: bar\r\n\rTransfer-Encoding: chunked|Proxy: http://evil|Content_Length: 3|Content-Length\x00: 3|"
    r"Foo: bar\r\n\tContent-Length: 3|Host: y|X-Forwarded-For: 1.2.3.4|A:B: c|:path: /|"
    r"Transfer-Encoding chunked : chunked|Foo: b\r\n\r\nGET /smuggled HTTP/1.1|no colon| ",
    "Range: bytes=" + ",".join(f"{n}-" for n in range(40)),
)
SIZES = words(
    r'5|5|5|5|05|0005|5;a|5;a=b|5;a="b;c"|5 ;a|5;|5; |5;a="|5\t| 5|5 |+5|-5|0x5|5h|5_|5,||5;a\rb|5;a\nb|5;\x00|'
    r'5;a=\xe9|5;a="\xe9"|6|4|fffffffffffffffb|100000005|ffffffffffffffff|10000000000000005|00000000000000005|'
    r"5\x0b|\xb5|5=a|5#",
    "5;" + "a" * 300,
)
CHUNK_ENDS = ["\r\n"] * 12 + words(r"\n|\r||\r\r\n|\n\n|XX|\rX|\r\n\r\n|\x00\x00")
LASTS = ["0"] * 12 + words(r"00|0;a|0 |0x0|-0|+0||0\n|000000000000000000|0;a=b;c")
TRAILERS = words(
    r"X-T: t|X-T:|Content-Length: 5|Transfer-Encoding: chunked|Host: evil|Cookie: a=b|X-T : t| X: t|X\x00: t|"
    r"no colon|GET /smuggled HTTP/1.1|X: \x01|Trailer: X|X_T: t|X: a\nb|X: a\rb",
    "X: " + "t" * 200,
)
SPECIAL = words(
    r'\r|\n|\r\n|\r\n\r\n|\n\n|\x00|\t| |\x0b|\x0c|\x7f|\x85|\xa0|\xff|\x1b|:|;|,|"|%|%00|#|_|-|+|0|chunked|'
    r"\r\n |\r\n\r|\n\r\n|GET / HTTP/1.1\r\n|Content-Length: 5\r\n|Transfer-Encoding: chunked\r\n|Host: y\r\n|"
    r"0\r\n\r\n|HTTP/1.1|\r\n5\r\n"
)
GREETINGS = words(
    r"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03|SSH-2.0-x\r\n|EHLO x\r\n|stats\r\n|*1\r\n$4\r\nPING\r\n|"
    r"OPTIONS rtsp://h/ RTSP/1.0\r\nCSeq: 1\r\n\r\n|PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n|"
    r"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n|\r\n\r\n\x00\r\nQUIT\n!\x11|INVITE sip:x SIP/2.0\r\n\r\n|GET /\r\n|"
    r"GET\r\n|\x00|\x80.\x01\x00\x02"
)
