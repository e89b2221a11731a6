"""The rows on what is remembered of responses, and how they are coded. See `settings`."""

from __future__ import annotations

import os

from vivace.config.row import row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vivace.config.settings import Settings

TRACKERS = ("utm_*", "fbclid", "gclid", "gbraid", "wbraid", "dclid", "msclkid", "mc_cid", "mc_eid", "_ga", "igshid")
"""Query parameters that tell the site's owner where a visitor came from, and the page nothing."""

STORES = ("redis://", "rediss://", "valkey://", "valkeys://", "unix://")


def check_rules(rules: tuple[str, ...]) -> None:
    """As `cache.rules` reads each. Raises ValueError."""
    from vivace.cache.rules import read_rule

    for text in rules:
        read_rule(text)


def check_store(url: str) -> None:
    """ "" or the URL of a Redis or Valkey. Raises ValueError."""
    if url and not url.startswith(STORES):
        raise ValueError(f"{url!r} names no store; give redis://HOST:PORT/NUMBER, rediss:// or unix://PATH")


def read_mount(text: str) -> tuple[str, str]:
    """PATH=DIRECTORY -> both. Raises ValueError."""
    path, sign, directory = text.partition("=")
    path, directory = path.strip(), directory.strip()
    if not sign or not path.startswith("/") or not directory:
        raise ValueError(f"{text!r} is no mount; give PATH=DIRECTORY, as in /static=./static")
    hidden = any(segment[:1] == "." and segment != ".well-known" for segment in path.split("/"))
    if hidden or "//" in path or "\\" in path:
        raise ValueError(
            f"{path!r} is no path to serve files at; give one such as /static, without .. and hidden names"
        )
    return path, directory


def check_mounts(texts: tuple[str, ...]) -> None:
    """Each a path and a directory, no path twice. Raises ValueError."""
    paths = [read_mount(text)[0].rstrip("/") for text in texts]
    for path in paths:
        if paths.count(path) > 1:
            raise ValueError(f"{path or '/'!r} is given twice; a path has one directory")


def check_name(name: str) -> None:
    """A file's name, or "". Raises ValueError."""
    if "/" in name or name.startswith("."):
        raise ValueError(f"{name!r} is no file's name; give one such as index.html")


def check_pattern(text: str) -> None:
    """A regular expression. Raises ValueError."""
    import re

    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"{text!r} is no regular expression: {error}") from None


def settled_mounts(texts: tuple[str, ...], base: str) -> tuple[str, ...]:
    """The same with absolute directories: a relative one is taken from `base`."""
    mounts = [read_mount(text) for text in texts]
    return tuple(
        f"{path}={os.path.normpath(os.path.join(base, os.path.expanduser(directory)))}" for path, directory in mounts
    )


def contradictions(settings: Settings) -> list[str]:
    """What is wrong with these settings together, a sentence each."""
    problems = [
        f"static: {directory!r}, for {path}, {'is no directory' if os.path.exists(directory) else 'does not exist'}"
        for path, directory in map(read_mount, settings.static)
        if not os.path.isdir(directory)
    ]
    if not settings.cache:
        problems += [
            f"{name}: the cache is off, so it has no effect; give --cache as well"
            for name in ("cache_rule", "cache_store", "cache_ignore_cookies")
            if getattr(settings, name)
        ]
    elif settings.cache_entry_bytes_max > settings.cache_memory_bytes // 4:
        problems.append(
            f"cache_entry_bytes_max: one response of {settings.cache_entry_bytes_max} bytes would push out most of a "
            f"cache of {settings.cache_memory_bytes}; give at most a quarter of cache_memory"
        )
    return problems


class Caching:
    """Sections caching, compression and files."""

    cache: bool = row(
        "caching",
        "bool",
        False,
        "Keep responses that HTTP allows to be reused, and answer from them without the application (RFC 9111).",
        "nginx proxy_cache: off. Varnish: on.",
        reloadable=False,
    )
    cache_memory_bytes: int = row(
        "caching",
        "bytes",
        64 << 20,
        "Memory for kept responses, of each worker; with more than one, as much again is shared by all of them.",
        "Varnish -s malloc: 100 MB in distributions; Apache Traffic Server ram_cache: 10 MB a GB of disk.",
        min=1 << 20,
        max=1 << 40,
        reloadable=False,
    )
    cache_entry_bytes_max: int = row(
        "caching",
        "bytes",
        4 << 20,
        "The longest response body that is kept.",
        "Squid maximum_object_size_in_memory: 512 KB; nginx: no limit.",
        min=1024,
        max=1 << 32,
    )
    cache_rule: tuple[str, ...] = row(
        "caching",
        "list",
        (),
        "What to keep of paths whose responses do not say: PATTERN and a time, as in '/api/* 1s', with stale=TIME, "
        "STATUS=TIME, cookies, authorization, set-cookie, or off. The first that fits counts.",
        "nginx proxy_cache_valid; Varnish's VCL.",
        unit="rules",
        check=check_rules,
    )
    cache_ignore_params: tuple[str, ...] = row(
        "caching",
        "list",
        TRACKERS,
        "Query parameters that do not tell responses apart; * stands for the rest of a name. The application still "
        "gets them.",
        "Varnish needs VCL for it; Cloudflare and Fastly have the like.",
        unit="names",
    )
    cache_ignore_cookies: tuple[str, ...] = row(
        "caching",
        "list",
        (),
        "Cookies that do not tell responses apart where those vary by Cookie; * stands for the rest of a name. Give "
        "only those that the application never reads.",
        "Varnish needs VCL for it.",
        unit="names",
    )
    cache_status: bool = row(
        "caching",
        "bool",
        True,
        "Say in Cache-Status what the cache did with a request (RFC 9211).",
        "Fastly and Cloudflare say it in X-Cache and CF-Cache-Status.",
    )
    cache_wait_s: float = row(
        "caching",
        "seconds",
        60.0,
        "Requests for what is being made wait so long for it; then they go to the application themselves.",
        "nginx proxy_cache_lock_timeout: 5 s; Varnish: as long as it takes.",
        min=0.01,
        max=3600,
    )
    cache_store: str = row(
        "caching",
        "str",
        "",
        "A Redis or Valkey that machines share their responses by: redis://HOST:PORT/NUMBER. Needs vivace[redis].",
        "Souin and Varnish Enterprise have the like.",
        unit="a URL",
        check=check_store,
        secret=True,
    )
    compress: bool = row(
        "compression",
        "bool",
        False,
        "Compress responses for clients that take it: gzip, and Brotli and Zstandard with vivace[brotli] and "
        "vivace[zstd]. A page that holds a secret beside what a client sent can leak it by its length (BREACH).",
        "nginx gzip: off.",
    )
    compress_types: tuple[str, ...] = row(
        "compression",
        "list",
        (
            "text/*",
            "application/json",
            "application/javascript",
            "application/xml",
            "application/wasm",
            "*+json",
            "*+xml",
            "image/x-icon",
        ),
        "Media types that are compressed; * stands for anything.",
        "nginx gzip_types: text/html. Apache's examples: text and XML. image/svg+xml is in *+xml.",
        unit="types",
    )
    compress_bytes_min: int = row(
        "compression",
        "bytes",
        1024,
        "The shortest body that is compressed: below, what is won does not fill a packet less.",
        "nginx gzip_min_length: 20; Django: 200; Flask-Compress: 500; Akamai: 860.",
        min=1,
        max=1 << 30,
    )
    compress_exclude: tuple[str, ...] = row(
        "compression",
        "list",
        (),
        "Paths that are never compressed, such as forms with secrets; * stands for the rest of a path.",
        "None; BREACH (CVE-2013-3587).",
        unit="paths",
    )
    compress_level: int = row(
        "compression",
        "int",
        0,
        "How hard to try, 1 to 9, for responses as they are made: 0 takes what each coding does best for its time.",
        "nginx gzip_comp_level: 1; zlib: 6.",
        min=1,
        max=9,
        zero="of the coding",
        unit="a level",
    )
    static: tuple[str, ...] = row(
        "files",
        "list",
        (),
        "Serve files without the application: PATH=DIRECTORY, as in /static=./static. The longest path that fits "
        "counts.",
        "WhiteNoise; uWSGI --static-map; Granian --static-path-mount.",
        unit="mounts",
        check=check_mounts,
    )
    static_index: str = row(
        "files",
        "str",
        "",
        "The file that a path of a directory stands for, as in index.html.",
        "nginx index: index.html; WhiteNoise: off.",
        unit="a name",
        check=check_name,
    )
    static_max_age_s: float = row(
        "files",
        "seconds",
        60.0,
        "How long clients may keep a file without asking again.",
        "WhiteNoise: 60; nginx expires: off.",
        zero="ask each time",
        min=1,
        max=31536000,
    )
    static_immutable: str = row(
        "files",
        "str",
        r"[.-][0-9a-fA-F]{8,32}\.",
        "What in a file's name says that its content never changes, so that clients keep it for a year.",
        "WhiteNoise: the names that Django's manifest storage makes.",
        unit="a regular expression; empty for none",
        check=check_pattern,
    )
    static_follow_symlinks: bool = row(
        "files",
        "bool",
        False,
        "Serve what symbolic links inside the directory lead to outside of it.",
        "Apache FollowSymLinks: on; nginx disable_symlinks: off.",
    )
