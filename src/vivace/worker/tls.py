"""TLS for a server: the settings of section tls as certificates, secure sites and redirects.

`Tls` may be made before the process forks: then every worker has the same self-signed certificate, and a session that
began with one is resumed by the others. Imported only when TLS is on.
"""

from __future__ import annotations

import sys

from vivace.connection.redirect import HTTPS_PORT, redirect
from vivace.connection.secure import secure
from vivace.net.tls import Certificates

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from vivace.config.settings import Settings
    from vivace.connection.loop import Loop
    from vivace.connection.site import Site
    from vivace.net.listen import Listener
    from vivace.worker.console import Console


REDIRECTS = " (redirects to https)"


class Tls:
    """The certificates of a server, and what it does with its listeners."""

    def __init__(self, settings: Settings, console: Console) -> None:
        """Reads the files. Raises SettingError."""
        self._settings = settings
        self.certificates = _self_signed(settings, console) if settings.tls_self_signed else _given(settings, console)

    def label(self, listener: Listener) -> None:
        """Has `listener` say what it speaks. Twice does no harm: the supervisor does it before its workers do."""
        if listener.text.startswith("http://") and REDIRECTS not in listener.text:
            listener.text = listener.text + REDIRECTS if listener.redirects else "https" + listener.text[4:]

    def set_up(self, loop: Loop, listener: Listener, site: Site, listeners: Sequence[Listener]) -> None:
        """TLS at `listener`, or, if it is one of https_redirect, the way there. Before the loop runs."""
        plan = loop.plan
        if listener.redirects:
            ports = (each.server_port for each in listeners if not each.redirects and not each.is_unix)
            redirect(loop, site, next(ports, HTTPS_PORT))
        else:
            secure(site, self.certificates, self._settings.tls_handshake_timeout_s, plan.head_timeout_s)
        loop.sweeper.keep_to(site.opening_timeout_s)


def _given(settings: Settings, console: Console) -> Certificates:
    keys = settings.keyfile or ("",) * len(settings.certfile)
    return _certificates(settings, console, list(zip(settings.certfile, keys, strict=True)), watch=True)


def _self_signed(settings: Settings, console: Console) -> Certificates:
    import tempfile

    from vivace.net.self_signed import self_signed

    console.info("tls_self_signed: a certificate was made for this run; browsers warn of it, as nobody vouches for it")
    with tempfile.TemporaryDirectory(prefix="vivace-tls-") as folder:
        return _certificates(settings, console, [self_signed(folder)], watch=False)


def _certificates(settings: Settings, console: Console, pairs: list[tuple[str, str]], *, watch: bool) -> Certificates:
    return Certificates(
        pairs,
        tell=console.say,
        ca_file=settings.tls_ca_file,
        client=settings.tls_client,
        min_version=settings.tls_min,
        ciphers=settings.tls_ciphers,
        ask=_ask if sys.stdin is not None and sys.stdin.isatty() else None,
        watch=watch,
    )


def _ask(keyfile: str) -> str:
    import getpass

    return getpass.getpass(f"passphrase of {keyfile}: ")
