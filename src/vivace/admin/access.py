"""Who may see: the token, the login's cookie, and the names by which a browser may have come here.

Rules:

* With a token: it is shown as `Authorization: Bearer` (RFC 6750 section 2.1), or once in a form, for a cookie that is
  no token: it says until when it is good, under a signature by the token. Nothing is kept, so it outlives this process.
* Without a token, at a loopback address: Host must name this machine itself. A page from elsewhere can make a browser
  come here by a name that it has pointed to 127.0.0.1 (DNS rebinding), but then the browser says that name.
* Comparisons take the same time whatever is compared (`hmac.compare_digest`).
* Pure, but for the clock that is passed to it.
"""

from __future__ import annotations

import hashlib
import hmac
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

LOGIN_S = 12 * 3600
"""A working day; then the browser has to show the token again."""

OWN_NAMES = re.compile(r"(?:localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])(?::[0-9]{1,5})?", re.IGNORECASE)


class Access:
    """`names_only`: Host must be a name of this machine. `cookie`: its name; cookies do not tell ports apart."""

    def __init__(self, token: str, *, names_only: bool, cookie: str, warn: Callable[[str], None]) -> None:
        self.needs_token = bool(token)
        self.cookie = cookie
        self._token = token.encode()
        self._names_only = names_only
        self._warn = warn

    def is_rebound(self, environ: Mapping[str, Any]) -> bool:
        """Whether the request came by somebody else's name."""
        return self._names_only and OWN_NAMES.fullmatch(environ.get("HTTP_HOST", "")) is None

    def admits(self, environ: Mapping[str, Any], now_s: float) -> bool:
        """Whether the request shows the token, or a cookie that was given for it."""
        if not self._token:
            return True
        scheme, _, shown = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() == "bearer":
            return self.knows(shown.strip(), environ)
        for pair in environ.get("HTTP_COOKIE", "").split(";"):
            name, _, value = pair.strip().partition("=")
            if name == self.cookie:
                return self._is_good(value, now_s)
        return False

    def knows(self, token: str, environ: Mapping[str, Any]) -> bool:
        """Whether this is the token."""
        if hmac.compare_digest(token.encode("utf-8", "replace"), self._token):
            return True
        self._warn(f"admin: a wrong token from {environ.get('REMOTE_ADDR') or 'a Unix socket'}")
        return False

    def new_cookie(self, now_s: float) -> str:
        """The value of a Set-Cookie field (RFC 6265 section 4.1)."""
        until = str(int(now_s) + LOGIN_S)
        value = f"{until}.{self._signature(until)}"
        return f"{self.cookie}={value}; Path=/; Max-Age={LOGIN_S}; HttpOnly; SameSite=Strict"

    def no_cookie(self) -> str:
        """The one that takes it back."""
        return f"{self.cookie}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict"

    def _is_good(self, value: str, now_s: float) -> bool:
        until, _, signature = value.partition(".")
        if not (until.isascii() and until.isdecimal() and len(until) < 12 and signature.isascii()):
            return False
        return hmac.compare_digest(signature, self._signature(until)) and now_s < int(until)

    def _signature(self, until: str) -> str:
        return hmac.new(self._token, f"vivace admin until {until}".encode(), hashlib.sha256).hexdigest()
