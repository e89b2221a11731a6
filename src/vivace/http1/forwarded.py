"""What a trusted proxy says of its client -> the client's view in the environ: X-Forwarded-*, and Forwarded (RFC 7239).

Rules:

1. Each proxy of a chain adds the address of *its* client at the right end. So a chain is walked from the right: past
   addresses of trusted proxies to the first that is none. What stands further left was written by nobody who is
   trusted and is never looked at.
2. A walk also ends at what is no address ("unknown", an obfuscated identifier, rubbish): the client is then the last
   address that is known, at worst the peer itself. As nginx (real_ip_recursive) and Apache (mod_remoteip) do it.
3. Values belong to the hop at which the walk ended: the element of the same distance from the right, or the leftmost
   where there are fewer (a proxy may set one value instead of appending it).
4. A value that is used and cannot be what it should (a scheme other than http and https, a host that is no host, a
   broken Forwarded field) is Refused 400, as in gunicorn and waitress: what the proxy meant is not known, and
   answering as if it had said nothing would turn https into http, or one site into another.
5. The raw fields stay as they came: what an application reads of them by itself is its own affair.
6. Every loop and cache is bounded.

Here live the last touches to an environ (`Site.adapt`): callables that change it in place and return flags to add.
Must not know: sockets, connections, settings.
"""

from __future__ import annotations

import re

from vivace.errors import Refused
from vivace.http1.fields import TOKEN
from vivace.http1.flags import PRIVATE
from vivace.http1.target import is_authority, unescape
from vivace.http1.trusted import NO_NODE, is_port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from vivace.http1.trusted import Trusted

    Environ = dict[str, Any]
    Adapt = Callable[[Environ], int]

FIELDS = ("for", "proto", "host", "port", "prefix")
"""The X-Forwarded fields that are understood."""

HOPS_MAX = 32
"""The longest walk. nginx and Apache walk as far as the field goes; nobody has so many proxies of his own."""

PAIRS_MAX = 256
"""The most name=value pairs of a Forwarded field: 8 hops would have 32."""

KEPT_MAX = 1024
KEPT_CHARS_MAX = 256

PEER, PEER_PORT = "vivace.peer", "vivace.peer_port"
"""Where REMOTE_ADDR and REMOTE_PORT of the connection are kept when the client's take their place."""

# A WebSocket's opening handshake is HTTP (RFC 6455 section 4.1); Traefik then writes ws and wss.
SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
PORTS = {"http": "80", "https": "443"}

# RFC 3986 section 3.3: path-absolute, without a comma, which separates the values of several proxies.
_PREFIX = r"(?:/(?:[A-Za-z0-9\-._~!$&'()*+;=:@]|%[0-9A-Fa-f]{2})+)*/?"
# RFC 7239 section 4: forwarded-pair = token "=" ( token / quoted-string ), optional (RFC 9110 section 5.6.1.2), and
# what ends it. White space around ";" is not in the grammar; it is common and can be read in one way only. Possessive
# quantifiers: nothing is tried twice.
_QUOTED = r'"((?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[\t\x20-\x7e\x80-\xff])*+)"'
_pair = re.compile(rf"[ \t]*+(?:({TOKEN}+)=(?:({TOKEN}+)|{_QUOTED}))?[ \t]*+([,;]|\Z)").match
# RFC 7239 section 6: node = ( IPv4address / "[" IPv6address "]" / "unknown" / obfnode ) [ ":" ( port / obfport ) ]
_node = re.compile(
    r"(?:(?P<address>[0-9.]{7,15}|\[[0-9A-Fa-f:.]{2,45}\])|(?i:unknown)|_[A-Za-z0-9._\-]+)"
    r"(?::(?:(?P<port>[0-9]{1,5})|_[A-Za-z0-9._\-]+))?"
).fullmatch

HEARSAY = ("HTTP_FORWARDED", "HTTP_X_FORWARDED", "HTTP_X_REAL_IP")


def strip(environ: Environ) -> int:
    """Removes what a client may have written itself: Forwarded, X-Forwarded-*, X-Real-IP."""
    names = " ".join(environ)  # nearly nobody sends any of them: one search costs less than one for each name
    if "HTTP_X_" in names or "HTTP_FORWARDED" in names:
        for key in [key for key in environ if key.startswith(HEARSAY)]:
            del environ[key]
    return 0


def take_off(environ: Environ, root: str) -> bool:
    """Moves `root` from the front of PATH_INFO, if it stands there as whole segments; whether it did."""
    path: str = environ["PATH_INFO"]
    if path.startswith(root) and path[len(root) : len(root) + 1] in ("", "/"):
        environ["PATH_INFO"] = path[len(root) :]
        return True
    return False


def rooted(root: str) -> Adapt:
    """For an application that lives under `root`, which is its SCRIPT_NAME already."""

    def adapt(environ: Environ) -> int:
        take_off(environ, root)
        return 0

    return adapt


def both(first: Adapt, second: Adapt | None) -> Adapt:
    """One after the other."""
    if second is None:
        return first
    return lambda environ: first(environ) | second(environ)


def read_prefix(text: str) -> str | None:
    """A prefix of paths as SCRIPT_NAME has it, decoded and without a slash at its end; None if it is none."""
    decoded = unescape(text.removesuffix("/")) if re.fullmatch(_PREFIX, text) else "//"
    return None if decoded.startswith("//") else decoded  # which a browser would take for a host


class XForwarded:
    """Believes the X-Forwarded fields that are named in `fields`. Raises Refused."""

    def __init__(self, trusted: Trusted, fields: Iterable[str] = FIELDS, root: str = "") -> None:
        believed = frozenset(fields)
        self._node = trusted.node
        self._known = trusted.nodes.get
        self._root = root
        self._for = "for" in believed
        self._proto = "proto" in believed
        self._host = "host" in believed
        self._port = "port" in believed
        self._prefix = "prefix" in believed
        self._more = bool(root) or not believed.isdisjoint(("host", "port", "prefix"))

    def __call__(self, environ: Environ) -> int:
        get = environ.get
        distance = 0
        if self._for and (chain := get("HTTP_X_FORWARDED_FOR")) is not None:
            address, port, passed = self._known(chain, NO_NODE)
            if passed or not address:
                address, port, distance = self.walk(chain)
            if address:
                _set_client(environ, address, port)
        scheme = host = outer_port = ""
        if self._proto and (value := get("HTTP_X_FORWARDED_PROTO")) is not None:
            scheme = SCHEMES.get(value) or _scheme(pick(value, distance), "X-Forwarded-Proto")
        if self._more:
            if self._host and (value := get("HTTP_X_FORWARDED_HOST")) is not None:
                host = _checked_host(pick(value, distance), "X-Forwarded-Host")
            if self._port and (value := get("HTTP_X_FORWARDED_PORT")) is not None:
                outer_port = pick(value, distance)
                if not is_port(outer_port):
                    raise Refused(400, "X-Forwarded-Port of a trusted proxy is no port")
            taken = bool(self._root) and take_off(environ, self._root)
            if self._prefix and (value := get("HTTP_X_FORWARDED_PREFIX")) is not None:
                prefix = read_prefix(pick(value, distance))
                if prefix is None:
                    raise Refused(400, "X-Forwarded-Prefix of a trusted proxy is no path that begins with one slash")
                # What the proxy took off stands before what was taken off here.
                environ["SCRIPT_NAME"] = prefix + self._root if taken else prefix or self._root
        if host or outer_port:
            _set_url(environ, scheme, host, outer_port)
        elif scheme:
            environ["wsgi.url_scheme"] = scheme
            authority = get("HTTP_HOST", "")
            environ["SERVER_PORT"] = (":" in authority and _split(authority)[1]) or PORTS[scheme]
        return PRIVATE

    def walk(self, chain: str) -> tuple[str, str, int]:
        """The client's address ("" if unknown) and port, and the distance from the right at which it was found."""
        address = port = ""
        distance = 0
        while True:
            chain, comma, text = chain.rpartition(",")
            found, its_port, trusted = self._node(text)
            if found:
                address, port = found, its_port
            if not (trusted and comma) or distance == HOPS_MAX:
                return address, port, distance
            distance += 1


class Forwarded:
    """Believes the Forwarded field (RFC 7239). Raises Refused."""

    def __init__(self, trusted: Trusted, root: str = "") -> None:
        self._trusted = trusted
        self._root = root
        self._kept: dict[str, tuple[str, str, str, str]] = {}

    def __call__(self, environ: Environ) -> int:
        if self._root:
            take_off(environ, self._root)
        value = environ.get("HTTP_FORWARDED")
        if value is not None:
            address, port, scheme, host = self._kept.get(value) or self._read(value)
            if address:
                _set_client(environ, address, port)
            if scheme or host:
                _set_url(environ, scheme, host, "")
        return PRIVATE

    def _read(self, value: str) -> tuple[str, str, str, str]:
        """(address, port, scheme, host), each "" if the proxies do not say."""
        address = port = ""
        element: dict[str, str] = {}
        # Where an element lacks for=, or hides its client, the element is the proxy's own still, but the last.
        for element in elements(value)[: -HOPS_MAX - 1 : -1]:
            found, its_port, trusted = self._client(element.get("for", "unknown"))
            if found:
                address, port = found, its_port
            if not trusted:
                break
        scheme = element.get("proto", "")
        host = element.get("host", "")
        read = (
            address,
            port,
            scheme and _scheme(scheme, "proto in Forwarded"),
            host and _checked_host(host, "host in Forwarded"),
        )
        if len(value) <= KEPT_CHARS_MAX:
            if len(self._kept) >= KEPT_MAX:
                self._kept = {}
            self._kept[value] = read
        return read

    def _client(self, node: str) -> tuple[str, str, bool]:
        match = _node(node)
        if match is None:
            raise Refused(400, "for in Forwarded is no node (RFC 7239 section 6)")
        text = match["address"]
        if text is None:
            return "", "", False
        address, _, trusted = self._trusted.node(text)
        port = match["port"] or ""
        if not address or (port and int(port) > 65535):
            raise Refused(400, "for in Forwarded is no address (RFC 7239 section 6)")
        return address, port, trusted


def elements(value: str) -> list[dict[str, str]]:
    """The elements of a Forwarded field, each a dict of its parameters, names in lower case. Raises Refused 400.

    The whole field is read, from its beginning: a quotation mark that a client left open would swallow what the
    proxies behind it have added, so a field that is broken anywhere is good for nothing.
    """
    found: list[dict[str, str]] = []
    element: dict[str, str] = {}
    at = 0
    for _ in range(PAIRS_MAX):
        match = _pair(value, at)
        if match is None:
            raise Refused(400, "Forwarded is no list of name=value pairs (RFC 7239 section 4)")
        name, token, quoted, end = match.groups()
        if name is not None:
            name = name.lower()
            if name in element:
                raise Refused(400, "a parameter of Forwarded is repeated in one element (RFC 7239 section 4)")
            element[name] = token if token is not None else re.sub(r"\\(.)", r"\1", quoted)
        if end != ";" and element:
            found.append(element)
            element = {}
        at = match.end()
        if not end:
            return found
    raise Refused(400, f"Forwarded has more than {PAIRS_MAX} parameters")


def pick(values: str, distance: int) -> str:
    """The value at `distance` from the right of a list, the leftmost if there are fewer."""
    if "," in values:
        parts = values.rsplit(",", distance + 1)
        values = parts[-1 - distance] if len(parts) > distance else parts[0]
    return values.strip(" \t")


def _set_client(environ: Environ, address: str, port: str) -> None:
    environ[PEER] = environ["REMOTE_ADDR"]
    environ[PEER_PORT] = environ["REMOTE_PORT"]
    environ["REMOTE_ADDR"] = address
    environ["REMOTE_PORT"] = port


def _set_url(environ: Environ, scheme: str, host: str, outer_port: str) -> None:
    """Scheme, host and port of the URL that the client used.

    A port in the host is what the client itself wrote, and goes before X-Forwarded-Port; and 80 and 443 are never
    added to a host: they are the scheme's own, or (443 with http, 80 with https) those of a proxy further in.
    """
    if scheme:
        environ["wsgi.url_scheme"] = scheme
    else:
        scheme = environ["wsgi.url_scheme"]
    authority: str = host or environ.get("HTTP_HOST", "")
    name, port = _split(authority)
    if not port and outer_port not in ("", "80", "443"):
        port = outer_port
        if authority:
            environ["HTTP_HOST"] = f"{name}:{port}"
    elif host:
        environ["HTTP_HOST"] = host
    if host:
        environ["SERVER_NAME"] = name
    environ["SERVER_PORT"] = port or PORTS[scheme]


def _split(authority: str) -> tuple[str, str]:
    """Host, an IPv6 address in its brackets, and port, "" if there is none."""
    name, colon, port = authority.rpartition(":")
    return (authority, "") if not colon or port.endswith("]") else (name, port)


def _scheme(value: str, where: str) -> str:
    found = SCHEMES.get(value.lower())
    if found is None:
        raise Refused(400, f"{where} of a trusted proxy is neither http nor https")
    return found


def _checked_host(host: str, where: str) -> str:
    if not is_authority(host):
        raise Refused(400, f"{where} of a trusted proxy is not host or host:port")
    return host
