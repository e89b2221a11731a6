"""Where `vivace top` gets its snapshots: the shared page of a server of this machine, or an admin address.

A source is `look() -> dict | None` and `problem`, which says why there is none. It goes on when the server has ended:
the next one at the same port is found.
"""

from __future__ import annotations

from vivace.errors import SettingError
from vivace.observe.layout import H_PID
from vivace.observe.snapshot import ENDED, between, from_json, take
from vivace.observe.threads import Sampler
from vivace.supervisor.find import find_server, ports_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vivace.observe.page import Page

ANSWER_S = 3.0
ANSWER_BYTES_MAX = 64 << 20


class LocalSource:
    """The server that `name` means (`find_server`); later the one that listens where that one did."""

    def __init__(self, name: str) -> None:
        """Raises SettingError if there is none."""
        self.problem = ""
        self._names = [name]
        self._page: Page | None = find_server(name)
        self._sampler: Sampler | None = None
        self._remember()

    def look(self) -> dict[str, Any] | None:
        """What the server says now, None if there is none."""
        self._page = self._page or self._find()
        if self._page is None:
            return None
        found = take(self._page, self._sampler)
        if found["server"]["state"] != ENDED:
            self.problem = ""
            return found
        self.close()
        self.problem = f"the server, process {found['server']['pid']}, has ended; waiting for the next one"
        return None

    def close(self) -> None:
        """Looks no more at this server."""
        if self._sampler is not None:
            self._sampler.end()
            self._sampler = None
        if self._page is not None:
            self._page.close()
            self._page = None

    def _find(self) -> Page | None:
        for name in self._names:
            try:
                self._page = find_server(name)
            except (SettingError, OSError):
                continue
            self._remember()
            return self._page
        return None

    def _remember(self) -> None:
        """Where it listens: another process may serve there the next time. And looks at its threads from now on."""
        assert self._page is not None
        name = self._names[0]
        self._names = [name, *(str(port) for port in ports_of(self._page.words[H_PID]))]
        self._sampler = Sampler(self._page)
        self._sampler.begin()


class RemoteSource:
    """The admin address of a server, at `url`."""

    def __init__(self, url: str, token: str) -> None:
        """Raises SettingError for what is no such address."""
        from urllib.parse import urlsplit

        try:
            parts = urlsplit(url)
            self._secure, self._host, self._port = parts.scheme == "https", parts.hostname, parts.port
        except ValueError as error:
            raise SettingError(f"--url {url}: {error}") from None
        if parts.scheme not in ("http", "https") or not self._host:
            raise SettingError(f"--url {url}: give the admin address, as in http://127.0.0.1:9000")
        self._url = url
        self._path = parts.path.rstrip("/") + "/snapshot.json"
        self._fields = {"Authorization": f"Bearer {token}"} if token else {}
        self.problem = ""

    def close(self) -> None:
        """There is nothing to give back."""

    def look(self) -> dict[str, Any] | None:
        """What the server says now, None if it says nothing."""
        from http.client import HTTPConnection, HTTPException, HTTPSConnection

        kind = HTTPSConnection if self._secure else HTTPConnection
        assert self._host is not None
        connection = kind(self._host, self._port, timeout=ANSWER_S)
        try:
            # Nothing is followed to another address: the token is for this one.
            connection.request("GET", self._path, headers=self._fields)
            response = connection.getresponse()
            data = response.read(ANSWER_BYTES_MAX)
            if response.status == 200:
                found = from_json(data)
                between(None, found)  # it has what it must have
                self.problem = ""
                return found
            hint = "; see --token" if response.status in (401, 403) else ""
            self.problem = f"{self._url} answers {response.status} {response.reason}{hint}"
        except (OSError, HTTPException) as error:
            self.problem = f"{self._url} does not answer: {getattr(error, 'strerror', None) or error}"
        except (ValueError, KeyError, TypeError, AttributeError):
            self.problem = f"{self._url} is no admin address of vivace's, or one of another version"
        finally:
            connection.close()
        return None
