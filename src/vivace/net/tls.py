"""TLS: from certificates and options, in plain values, to the contexts that new connections shake hands with.

Rules:

* Whatever is wrong with a file or an option is the user's to mend: a SettingError that names the file, says what is
  wrong with it, and what to do.
* A set of contexts is whole or it is not there. Files are looked at every `CHECK_S` at most, while connections come;
  changed ones are taken up once they have stayed the same for a further look, so that a half-written pair is not read.
  New files that cannot be used are said once and leave the old certificates serving. Connections that are open keep
  the context they began with.
* Names come from each certificate's subjectAltName (RFC 6125 section 6.4). The first certificate serves whoever sends
  no name, or one that nobody has.

Imported only when TLS is on: `ssl` costs a start 10 ms. Must not know settings, HTTP or connections.
"""

from __future__ import annotations

import os
import ssl
import time

from vivace.errors import SettingError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    Signature = tuple[tuple[int, int, int, int] | None, ...]

CHECK_S = 2.0
"""How often the files are looked at. A look is one stat(2) a file."""

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
CLIENT = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
PROTOCOLS = ["http/1.1"]
"""ALPN (RFC 7301). A client that offers none of these is served HTTP/1.1 all the same, as OpenSSL's default is."""


class Session(ssl.SSLObject):
    """One connection's TLS. `asked_for`: the name that the client sent (RFC 6066 section 3), or ""."""

    asked_for = ""


class Certificates:
    """The contexts of one server: chosen by name, and made anew when their files change.

    `pairs` are (certificate file, key file or "" where the key stands in the first). `tell(level, message)` says
    one line to the operator. `ask(key file)` returns a passphrase; without it an encrypted key is an error. Raises
    SettingError.
    """

    def __init__(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        tell: Callable[[str, str], object],
        ca_file: str = "",
        client: str = "none",
        min_version: str = "1.2",
        ciphers: str = "",
        ask: Callable[[str], str] | None = None,
        watch: bool = True,
    ) -> None:
        # Absolute, because the application may change the directory.
        self._pairs = [(os.path.abspath(cert), os.path.abspath(key) if key else "") for cert, key in pairs]
        self._ca_file = os.path.abspath(ca_file) if ca_file else ""
        self._client = client
        self._min_version = min_version
        self._ciphers = ciphers
        self._tell = tell
        self._passphrases: dict[str, str] = {}
        self._next_s = 0.0 if watch else float("inf")
        self._loaded = self._seen = self._failed = self._signature()
        self._context = self._make(ask)

    @property
    def verifies(self) -> bool:
        """Whether clients are asked for certificates."""
        return self._client != "none"

    def context(self, now: float) -> ssl.SSLContext:
        """What a connection that begins at `now` shakes hands with. Called by one thread at a time."""
        if now >= self._next_s:
            self._next_s = now + CHECK_S
            self._look()
        return self._context

    def reload(self) -> bool:
        """Reads the files again; False: they cannot be used, which is said, and the old ones go on serving."""
        found = self._signature()  # before they are read: what changes meanwhile is seen at the next look
        try:
            context = self._make(None)
        except SettingError as error:
            self._failed = found
            problems = "; ".join(error.problems)
            self._tell("warning", f"the certificates in use go on serving, because the new ones cannot: {problems}")
            return False
        self._context, self._loaded = context, found
        self._tell("info", "the certificates were read again")
        return True

    def _look(self) -> None:
        found = self._signature()
        changed = found not in (self._loaded, self._failed)
        if changed and found == self._seen:
            self.reload()
        self._seen = found

    def _signature(self) -> Signature:
        """What tells one version of the files from the next."""
        files = [path for pair in self._pairs for path in pair if path]
        return tuple(_stamp(path) for path in (*files, self._ca_file) if path)

    # Making contexts.

    def _make(self, ask: Callable[[str], str] | None) -> ssl.SSLContext:
        """The context of the first certificate, which hands over to the others by name. Raises SettingError, all
        problems at once."""
        contexts: list[ssl.SSLContext] = []
        by_name: dict[str, ssl.SSLContext] = {}
        problems: list[str] = []
        for cert, key in self._pairs:
            try:
                context = self._new_context()
                facts = read_certificate(cert)
                self._load_pair(context, cert, key, ask)
            except SettingError as error:
                problems.extend(problem for problem in error.problems if problem not in problems)
                continue
            self._judge(cert, facts, bool(contexts))
            contexts.append(context)
            for name in names_of(facts):
                by_name.setdefault(name, context)
        if problems:
            raise SettingError(*problems)
        first = contexts[0]
        first.sni_callback = lambda session, name, _: _choose(session, name, by_name)
        return first

    def _new_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.sslobject_class = Session
        context.minimum_version = VERSIONS[self._min_version]
        # RFC 9325 sections 3.3 and 3.5: no compression, no renegotiation. Tickets stay on: resumption saves a
        # handshake most of its cost.
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(PROTOCOLS)
        if self._ciphers:
            try:
                context.set_ciphers(self._ciphers)
            except ssl.SSLError:
                raise SettingError(
                    f"tls_ciphers {self._ciphers!r} selects no cipher; give OpenSSL's notation, as in ECDHE+AESGCM "
                    "(`openssl ciphers -v` shows what a list means)"
                ) from None
        context.verify_mode = CLIENT[self._client]
        if self._ca_file:
            _readable("tls_ca_file", self._ca_file)
            try:
                context.load_verify_locations(cafile=self._ca_file)
            except ssl.SSLError:
                raise SettingError(
                    f"tls_ca_file {self._ca_file!r} holds no certificate in PEM (-----BEGIN CERTIFICATE-----)"
                ) from None
        return context

    def _load_pair(self, context: ssl.SSLContext, cert: str, key: str, ask: Callable[[str], str] | None) -> None:
        if key:
            _readable("keyfile", key)
        holder = key or cert
        what = f"keyfile {key!r}" if key else f"certfile {cert!r}"
        encrypted = False

        def passphrase() -> str:
            nonlocal encrypted
            encrypted = True
            if holder not in self._passphrases:
                if ask is None:
                    raise SettingError(
                        f"{what}: the key is encrypted, and there is no terminal to ask for its passphrase; decrypt "
                        f"it (openssl pkey -in {holder} -out NEW) and guard the new file by its permissions"
                    )
                self._passphrases[holder] = ask(holder)
            return self._passphrases[holder]

        try:
            context.load_cert_chain(cert, key or None, passphrase)
        except ssl.SSLError as error:
            self._passphrases.pop(holder, None)
            if error.reason == "KEY_VALUES_MISMATCH":
                problem = f"{what} is not the key of certfile {cert!r}; give each certificate its own, in one order"
            elif encrypted:
                problem = f"{what}: the passphrase is wrong"
            elif error.reason:
                problem = f"certfile {cert!r} cannot be used: {error.reason.replace('_', ' ').lower()}"
            else:
                problem = f"{what} holds no private key in PEM (-----BEGIN PRIVATE KEY-----)"
                problem += "" if key else "; name the key's file by keyfile"
            raise SettingError(problem) from None

    def _judge(self, cert: str, facts: dict[str, Any], later: bool) -> None:
        """What is allowed and yet will not work for clients."""
        now = time.time()
        if ssl.cert_time_to_seconds(facts["notAfter"]) < now:
            self._tell("warning", f"certfile {cert!r} expired on {facts['notAfter']}: clients will refuse it; renew it")
        elif ssl.cert_time_to_seconds(facts["notBefore"]) > now:
            self._tell("warning", f"certfile {cert!r} is valid from {facts['notBefore']} on: look at the clock, too")
        if later and not names_of(facts):
            self._tell("warning", f"certfile {cert!r} has no DNS name in its subjectAltName: it will never be chosen")


def read_certificate(path: str) -> dict[str, Any]:
    """The first certificate in the PEM file `path`, as `SSLSocket.getpeercert` shows one. Raises SettingError."""
    _readable("certfile", path)
    try:
        # The only reader of certificates in the standard library; its name notwithstanding, it is there since 2.6.
        found: dict[str, Any] = ssl._ssl._test_decode_cert(path)  # type: ignore[attr-defined]
    except ssl.SSLError:
        raise SettingError(
            f"certfile {path!r} holds no certificate in PEM (-----BEGIN CERTIFICATE-----); convert it "
            "(openssl x509 -inform der), and put the server's own certificate first"
        ) from None
    return found


def names_of(facts: dict[str, Any]) -> list[str]:
    """The DNS names of a certificate, in lower case; wildcards as *.example.org."""
    return [value.lower().rstrip(".") for kind, value in facts.get("subjectAltName", ()) if kind == "DNS"]


def _choose(session: Any, name: str | None, by_name: dict[str, ssl.SSLContext]) -> None:
    """Hands `session` over to the certificate for `name`; a wildcard stands for one label (RFC 6125 section 6.4.3)."""
    if not name:
        return
    session.asked_for = name
    name = name.lower().rstrip(".")
    context = by_name.get(name) or by_name.get("*." + name.partition(".")[2])
    if context is not None and context is not session.context:
        session.context = context


def _readable(what: str, path: str) -> None:
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise SettingError(f"{what} {path!r} cannot be read: {error.strerror}") from None


def _stamp(path: str) -> tuple[int, int, int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def distinguished_name(parts: Iterable[Iterable[tuple[str, str]]]) -> str:
    """A subject or issuer of `getpeercert` as RFC 4514 writes it (the last part first), in latin-1's disguise as
    PEP 3333 wants it."""
    written = ["+".join(f"{SHORT.get(key, key)}={_escaped(value)}" for key, value in part) for part in parts]
    return ",".join(reversed(written)).encode("utf-8", "replace").decode("latin-1")


SHORT = {
    "commonName": "CN",
    "countryName": "C",
    "domainComponent": "DC",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "stateOrProvinceName": "ST",
    "streetAddress": "STREET",
    "userId": "UID",
}
"""RFC 4514 section 3; other names are written out."""


def _escaped(value: str) -> str:
    """RFC 4514 section 2.4; control characters too, as OpenSSL does."""
    text = "".join(
        "\\" + char if char in '",+;<>\\' else f"\\{ord(char):02X}" if char < " " or char == "\x7f" else char
        for char in value
    )
    if text[:1] in ("#", " "):
        text = "\\" + text
    return text[:-1] + "\\ " if value.endswith(" ") and len(value) > 1 else text
