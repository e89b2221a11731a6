# HOT  bench: benchmarks/bench_head.py  budget: 0.8 us (a new path)
"""The request line: method, request target in its four forms, version.

    request-line   = method SP request-target SP HTTP-version                (RFC 9112 section 3)
    request-target = origin-form / absolute-form / authority-form / asterisk-form

Rules:

1. Exactly one SP on each side of the target; the target is made of 0x21 to 0x7E.
2. "#" is refused: a fragment is never sent (RFC 9112 section 3.2). A malformed percent-escape in a
   path is refused, and so is %00, which no file system or C library can hold.
3. A path is decoded once, to bytes shown as latin-1 (PEP 3333), and otherwise left as sent: no dots are
   resolved and no slashes merged.
4. absolute-form: the authority replaces Host (RFC 9112 section 3.2.2); user information is refused
   (RFC 9110 section 4.2.4). The scheme is checked to be http or https and does not change
   `wsgi.url_scheme`: how the request arrived is the connection's to know.
5. An origin server without tunnels answers CONNECT with 501 (RFC 9110 section 9.3.6).

Must not know: fields, bodies, limits.
"""

from __future__ import annotations

import re

from vivace.errors import Refused
from vivace.http1.fields import is_token
from vivace.http1.flags import HEAD, HTTP10, PRIVATE

METHOD_CHARS_MAX = 32  # the longest registered method, UPDATEREDIRECTREF, has 17
KEPT_MAX = 1024  # request lines kept; a site has some hundreds of paths without parameters
KEPT_BYTES_MAX = 128

# What parse_head takes from a request line: (environ keys, authority of an absolute-form or "", flags)
RequestLine = tuple[dict[str, str], str, int]

# Of valid lines without a query only: found here, a request line needs no other check.
kept: dict[bytes, RequestLine] = {}

# Changes every byte that no ordinary request line holds; see fields.CONTROLS. (A method may hold "#", and none does.)
_STRANGERS = bytes(byte if 0x20 <= byte < 0x7F and byte != ord("#") else ord("?") for byte in range(256))
_METHODS = frozenset(("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))  # nothing to check, no flag

# Patterns that are seldom needed are compiled when they are.
_VERSION = r"HTTP/[0-9]\.[0-9]"  # RFC 9112 section 2.3: HTTP-name "/" DIGIT "." DIGIT
_TARGET = r"[!\"$-~]+"  # 0x21 to 0x7E without "#"
_ABSOLUTE = r"(?i:https?)://([^/?]*)(.*)"  # RFC 3986 section 3.1: schemes are case-insensitive
_H16 = r"[0-9A-Fa-f]{1,4}"
_OCTET = r"25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9]"  # RFC 3986 section 3.2.2: dec-octet
_is_escaped = re.compile(r"[^%]*(?:%[0-9A-Fa-f]{2}[^%]*)*").fullmatch

# RFC 3986 section 3.2.2: host = IP-literal / IPv4address / reg-name; port = *DIGIT. Left out: IPvFuture, which
# has never been used, and an empty host, which http URIs forbid (RFC 9110 section 4.2.1).
_host_and_port = re.compile(
    r"(?:\[([0-9A-Fa-f:.]{2,45})\]|(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2}){1,255})(?::([0-9]{0,5}))?"
).fullmatch


def read_request_line(line: bytes) -> RequestLine:
    """Read a request line without its CRLF. Raises Refused 400, 501 or 505."""
    parts = line.decode("latin-1").split(" ")
    if len(parts) != 3:
        raise Refused(400, "the request line is not method, target and version with one space between")
    method, target, version = parts
    flags = 0
    if method not in _METHODS:
        flags = _check_method(method)
    if version != "HTTP/1.1":
        flags |= _check_version(version)
    if (line.translate(_STRANGERS) != line or not target) and re.fullmatch(_TARGET, target) is None:
        raise Refused(400, "the request target holds what no URI does, or a fragment (RFC 9112 section 3.2)")
    authority = ""
    if target[0] != "/" or method == "CONNECT":
        target, authority = _other_form(method, target)
    path, mark, query = target.partition("?")
    if "%" in path:
        path = unescape(path)
    keys = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path if target != "*" else "",
        "QUERY_STRING": query,
        "REQUEST_URI": target,
        "RAW_URI": target,
        "SERVER_PROTOCOL": version,
    }
    if mark:
        # RFC 6750 section 2.3, reset links, signed URLs: a query may hold a credential.
        return keys, authority, flags | PRIVATE
    read = (keys, authority, flags)
    if len(line) <= KEPT_BYTES_MAX:
        if len(kept) >= KEPT_MAX:
            kept.clear()
        kept[line] = read
    return read


def _check_method(method: str) -> int:
    """The flags of a method that is not one of the common ones."""
    if is_token(method) is None:
        raise Refused(400, "the method is not a token (RFC 9110 section 9.1)")
    if len(method) > METHOD_CHARS_MAX:
        raise Refused(501, "the method is unknown, and longer than any known one")
    return HEAD if method == "HEAD" else 0


def _check_version(version: str) -> int:
    if version == "HTTP/1.0":
        return HTTP10
    if re.fullmatch(_VERSION, version):
        raise Refused(505, "this server speaks HTTP/1.1 and HTTP/1.0")
    raise Refused(400, "the HTTP version is malformed (RFC 9112 section 2.3)")


def _other_form(method: str, target: str) -> tuple[str, str]:
    """(target in origin-form or "*", authority or "") of what does not begin with "/"."""
    if method == "CONNECT":
        host, _, port = target.rpartition(":")
        if not host or not port or not is_authority(target):
            raise Refused(400, "the target of CONNECT is not host:port (RFC 9112 section 3.2.3)")
        raise Refused(501, "this server opens no tunnels")
    if target == "*":
        if method != "OPTIONS":
            raise Refused(400, "the target * goes with OPTIONS only (RFC 9112 section 3.2.4)")
        return target, ""
    absolute = re.fullmatch(_ABSOLUTE, target)
    if absolute is None:
        raise Refused(400, "the request target has none of the four forms of RFC 9112 section 3.2")
    authority, rest = absolute.groups()
    if not is_authority(authority):
        raise Refused(400, "the authority in the request target is not host or host:port")
    if not rest and method == "OPTIONS":  # RFC 9112 section 3.2.4: the server as a whole is meant
        return "*", authority
    return (rest if rest[:1] == "/" else "/" + rest), authority


def is_authority(text: str) -> bool:
    """Whether `text` is uri-host [ ":" port ], as in Host (RFC 9110 section 7.2), with a host."""
    match = _host_and_port(text)
    if match is None:
        return False
    ipv6, port = match.groups()
    return (not port or int(port) <= 65535) and (ipv6 is None or _is_ipv6(ipv6))


def _is_ipv6(text: str) -> bool:
    """RFC 3986 section 3.2.2, IPv6address: eight groups, or fewer around one "::"; the last two may be IPv4."""
    before, gap, after = text.partition("::")
    groups = [group for side in (before, after) if side for group in side.split(":")]
    count = len(groups)
    last = text.rpartition(":")[2]
    if "." in last:
        if re.fullmatch(rf"(?:(?:{_OCTET})\.){{3}}(?:{_OCTET})", last) is None:
            return False
        del groups[-1]
        count += 1
    return all(re.fullmatch(_H16, group) for group in groups) and (count <= 7 if gap else count == 8)


def unescape(path: str) -> str:
    """Percent-decode a path to bytes, shown as latin-1 (PEP 3333, RFC 3875 section 4.1.5)."""
    if _is_escaped(path) is None:
        raise Refused(400, "a percent-escape in the path is malformed (RFC 3986 section 2.1)")
    first, *rest = path.split("%")
    decoded = first + "".join([chr(int(part[:2], 16)) + part[2:] for part in rest])
    if "\0" in decoded:
        raise Refused(400, "the path holds an escaped NUL")
    return decoded
