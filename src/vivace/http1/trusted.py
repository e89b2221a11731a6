"""Which proxies are believed: addresses and networks, and what is remembered of the addresses that were seen.

Rules:

* An address has one spelling here: IPv6 compressed and in lower case (RFC 5952), and an IPv4-mapped one (RFC 4291
  section 2.5.5.2) is the IPv4 address in it. So a proxy is the same one through an IPv4 and an IPv6 socket.
* The peer of a Unix socket has no address, which is written "": it is trusted where `unix` is.
* What was looked up is kept, in bounded dicts: addresses come from the peers.

Must not know: fields, sockets, what follows from trust. `ipaddress` is imported only once there is somebody to trust.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    Node = tuple[str, str, bool]
    """Address, port or "", and whether it is a trusted proxy's; "" for an address: it is none."""

SEEN_MAX = 4096
"""So many addresses are remembered. When there are more, all are forgotten, which costs about 3 us for each."""

NODE_CHARS_MAX = 64
"""The longest text that can be an address: [IPv6 with IPv4 in it]:port has 53 characters."""

NO_NODE: Node = ("", "", False)


class Trusted:
    """The proxies of one server. Any thread."""

    def __init__(self, networks: Iterable[str]) -> None:
        """`networks`: addresses, networks in CIDR notation, and `unix`. Raises ValueError."""
        from ipaddress import IPv6Address, ip_address, ip_network

        self._ip_address: Callable[[str], Any] = ip_address
        self._unix = False
        self._networks: dict[int, list[tuple[int, int]]] = {4: [], 6: []}
        for text in networks:
            if text == "unix":
                self._unix = True
                continue
            network = ip_network(text)
            address: Any = network.network_address
            version, mask = network.version, int(network.netmask)
            if isinstance(address, IPv6Address) and address.ipv4_mapped is not None and network.prefixlen >= 96:
                address, version, mask = address.ipv4_mapped, 4, mask & 0xFFFFFFFF
            self._networks[version].append((int(address), mask))
        self._peers: dict[str, bool] = {"": self._unix}
        self.nodes: dict[str, Node] = {}
        """What `node` remembers; the dict stays the same one."""

    def peer(self, host: str) -> bool:
        """Whether the peer of a connection is a trusted proxy; `host` as REMOTE_ADDR has it, "" for a Unix peer."""
        found = self._peers.get(host)
        if found is None:
            if len(self._peers) >= SEEN_MAX:
                self._peers = {"": self._unix}
            found = self._peers[host] = self._read(host.partition("%")[0])[1]
        return found

    def node(self, text: str) -> Node:
        """What one hop of a chain is: an address, alone or with a port, as proxies write it in X-Forwarded-For.

        Understood are 192.0.2.1, 192.0.2.1:80, 2001:db8::1, [2001:db8::1] and [2001:db8::1]:80.
        """
        found = self.nodes.get(text)
        if found is None:
            found = self._node(text.strip(" \t"))
            if len(text) <= NODE_CHARS_MAX:
                if len(self.nodes) >= SEEN_MAX:
                    self.nodes.clear()
                self.nodes[text] = found
        return found

    def _node(self, text: str) -> Node:
        if len(text) > NODE_CHARS_MAX or "%" in text:  # a zone means something to its own machine only (RFC 4007)
            return NO_NODE
        host, port = text, ""
        if text.startswith("["):
            host, bracket, rest = text[1:].partition("]")
            if not bracket or ":" not in host or (rest and not rest.startswith(":")):
                return NO_NODE
            port = rest[1:]
            if rest and not is_port(port):
                return NO_NODE
        elif text.count(":") == 1:
            host, _, port = text.partition(":")
            if not is_port(port):
                return NO_NODE
        address, trusted = self._read(host)
        return (address, port, trusted) if address else NO_NODE

    def _read(self, host: str) -> tuple[str, bool]:
        """The address in its one spelling, "" where it is none, and whether it is trusted."""
        try:
            address = unmapped(self._ip_address(host))
        except ValueError:
            return "", False
        number = int(address)
        return str(address), any(number & mask == network for network, mask in self._networks[address.version])


def unmapped(address: Any) -> Any:
    """The IPv4 address in an IPv4-mapped IPv6 one; any other (of `ipaddress`) as it is."""
    return getattr(address, "ipv4_mapped", None) or address


def is_port(text: str) -> bool:
    """Whether `text` is a TCP port, 1 to 65535."""
    return text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) <= 65535
