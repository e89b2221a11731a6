"""Certificates for tests: an authority that issues what a test asks for."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from wire import Client

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

PEM = serialization.Encoding.PEM
USES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)
PLAIN = serialization.NoEncryption()


class Pair:
    """A certificate's file and its key's."""

    def __init__(self, cert: Path, key: Path) -> None:
        self.cert = cert
        self.key = key

    @property
    def settings(self) -> dict[str, str]:
        return {"certfile": str(self.cert), "keyfile": str(self.key)}

    def replace(self, other: Pair) -> None:
        """These files get the content of `other`'s, each at once."""
        for ours, theirs in ((self.cert, other.cert), (self.key, other.key)):
            fresh = ours.with_suffix(".new")
            fresh.write_bytes(theirs.read_bytes())
            fresh.replace(ours)


class Authority:
    """Signs certificates; its own stands in `cert`."""

    def __init__(self, folder: Path, name: str = "Test Authority") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._count = 0
        self.cert = self._new("authority", self._name, self._key, [], 30, ca=True).cert

    def issue(self, *names: str, subject: Any = None, days: int = 30, password: bytes = b"", to: str = "") -> Pair:
        """A certificate for DNS names and addresses; expired where `days` is negative, of tomorrow where it is 0."""
        parts = subject or [(NameOID.COMMON_NAME, names[0] if names else "nobody")]
        self._count += 1
        return self._new(
            to or f"pair{self._count}",
            x509.Name([x509.NameAttribute(*part) for part in parts]),
            ec.generate_private_key(ec.SECP256R1()),
            [x509.IPAddress(ip_address(name)) if name[:1].isdigit() else x509.DNSName(name) for name in names],
            days,
            password=password,
        )

    def _new(
        self,
        to: str,
        name: x509.Name,
        key: Any,
        names: list[Any],
        days: int,
        *,
        ca: bool = False,
        password: bytes = b"",
    ) -> Pair:
        now = datetime.now(UTC)
        begin = now + timedelta(days=1) if days == 0 else now - timedelta(days=400)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(now + timedelta(days=days or 30))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if ca:  # RFC 5280 section 4.2.1.3; Python 3.13 insists on it
            usage = dict.fromkeys(USES, False) | {"key_cert_sign": True, "crl_sign": True}
            builder = builder.add_extension(x509.KeyUsage(**usage), critical=True)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        pair = Pair(self._folder / f"{to}.crt", self._folder / f"{to}.key")
        pair.cert.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(PEM))
        guard = serialization.BestAvailableEncryption(password) if password else PLAIN
        pair.key.write_bytes(key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, guard))
        return pair

    def client(self, pair: Pair | None = None, **options: Any) -> ssl.SSLContext:
        """A client that trusts this authority and shows the certificate of `pair`; `options` are set on it."""
        context = ssl.create_default_context(cafile=self.cert)
        if pair is not None:
            context.load_cert_chain(pair.cert, pair.key)
        for name, value in options.items():
            setattr(context, name, value)
        return context


class SecureClient(Client):
    """`wire.Client` under TLS. `name` is what it asks for by SNI and checks."""

    def __init__(
        self,
        server: Any,
        context: ssl.SSLContext,
        name: str | None = "localhost",
        *,
        ragged: bool = True,
        **options: Any,
    ) -> None:
        """Connects and shakes hands. `ragged`: an end without close_notify is an end all the same."""
        super().__init__(server.url.replace("https:", "http:"), **options)
        plain = self.socket
        try:
            self.socket = self.tls = context.wrap_socket(plain, server_hostname=name, suppress_ragged_eofs=ragged)
        except BaseException:
            plain.close()
            raise

    @property
    def peer(self) -> list[str]:
        """The names in the server's certificate."""
        return [value for _, value in self.tls.getpeercert()["subjectAltName"]]  # type: ignore[index,misc]


class PlainClient(Client):
    """Speaks in clear to a port of TLS."""

    def __init__(self, server: Any, **options: Any) -> None:
        super().__init__(server.url.replace("https:", "http:"), **options)


class HandClient(PlainClient):
    """TLS by hand: the test decides which bytes go out and when."""

    def __init__(self, server: Any, context: ssl.SSLContext, name: str = "localhost", **options: Any) -> None:
        super().__init__(server, **options)
        self.received, self.made = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.received, self.made, server_hostname=name)

    def hello(self) -> bytes:
        """The first bytes of a handshake."""
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        return self.made.read()

    def shake_hands(self, size: int = 1 << 20) -> HandClient:
        """The whole handshake, what is sent in pieces of `size`."""
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.send_slowly(self.made.read(), size)
                self._receive()
        self.send_slowly(self.made.read(), size)
        return self

    def sealed(self, data: bytes) -> bytes:
        """The records that carry `data`."""
        self.tls.write(data)
        return self.made.read()

    def _receive(self) -> None:
        data = self.socket.recv(1 << 16)
        if not data:
            raise ConnectionResetError("the server has closed the connection")
        self.received.write(data)

    def _more(self) -> bool:
        while not self.ended:
            try:
                data = self.tls.read(1 << 16)
            except ssl.SSLWantReadError:
                try:
                    self._receive()
                except ConnectionResetError:
                    self.ended = "cut off"
            except ssl.SSLZeroReturnError:
                self.ended = "closed"
            else:
                self.buffer += data
                self.ended = "" if data else "closed"
                return bool(data)
        return False
