"""The rows on what stands between client and server: TLS and proxies. See `settings`."""

from __future__ import annotations

from vivace.config.row import row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vivace.config.settings import Settings


def check_networks(networks: tuple[str, ...]) -> None:
    """Addresses, networks and `unix`. Raises ValueError."""
    for text in networks:
        if text == "unix":
            continue
        import ipaddress

        try:
            ipaddress.ip_network(text)
        except ValueError as error:
            raise ValueError(f"{text!r} is no network ({error}); give 10.0.0.0/8, ::1 or unix") from None


def check_root_path(path: str) -> None:
    """ "" or /prefix, without a slash at the end. Raises ValueError."""
    if path:
        from vivace.http1.forwarded import read_prefix

        if path.endswith("/") or not read_prefix(path):
            raise ValueError(f"{path!r} is no prefix of a path; give one such as /shop, without a slash at the end")


def check_forwarded_fields(fields: tuple[str, ...]) -> None:
    """Names of `http1.forwarded.FIELDS`. Raises ValueError."""
    from vivace.http1.forwarded import FIELDS

    for name in fields:
        if name not in FIELDS:
            raise ValueError(f"{name!r} is none of {', '.join(FIELDS)}; give those that the proxy sets")


def wants_tls(settings: Settings) -> bool:
    """Whether there is anything to do with TLS at all."""
    return bool(settings.certfile or settings.tls_self_signed or settings.https_redirect)


def contradictions(settings: Settings) -> list[str]:
    """What is wrong with these settings together, a sentence each. No file is read for it."""
    return _of_tls(settings) + _of_proxies(settings)


def _of_tls(settings: Settings) -> list[str]:
    certs, keys = settings.certfile, settings.keyfile
    problems: list[str] = []
    if not wants_tls(settings):
        return problems
    if not certs and not settings.tls_self_signed:
        problems.append("https_redirect leads nowhere without TLS; give certfile and keyfile, or tls_self_signed")
    if certs and settings.tls_self_signed:
        problems.append("certfile and tls_self_signed are both given; one of them is enough")
    if keys and len(keys) != len(certs):
        problems.append(
            f"{len(certs)} certfile and {len(keys)} keyfile are given; give each certificate its key, in the same "
            "order, or no keyfile where the keys stand in the certificates' own files"
        )
    if settings.tls_client != "none" and not settings.tls_ca_file:
        problems.append(f"tls_client {settings.tls_client} needs tls_ca_file, the authorities whose clients are let in")
    if settings.tls_ca_file and settings.tls_client == "none":
        problems.append("tls_ca_file has no effect without tls_client; set it to optional or required")
    return problems


def _of_proxies(settings: Settings) -> list[str]:
    if not settings.trusted_proxies:
        return ["proxy_protocol: nobody may send it; name the proxy in trusted_proxies"] * settings.proxy_protocol
    if settings.underscores == "keep":
        return [
            "underscores: with keep, X_Forwarded_For of a client passes for X-Forwarded-For of a proxy; "
            "give drop or refuse, or no trusted_proxies"
        ]
    return []


class Network:
    """Sections tls and proxies."""

    # --- TLS --------------------------------------------------------------------------------------------

    certfile: tuple[str, ...] = row(
        "tls",
        "list",
        (),
        "A certificate chain, PEM; turns TLS on for every address of bind. Several are told apart by the names in "
        "them (SNI); the first is the default. Read again when the files change.",
        "gunicorn certfile: none.",
        unit="a PEM file",
    )
    keyfile: tuple[str, ...] = row(
        "tls",
        "list",
        (),
        "The private key of each certificate, in the same order; none where it stands in the certificate's own file.",
        "gunicorn keyfile: none.",
        unit="a PEM file",
    )
    tls_ca_file: str = row(
        "tls",
        "dir",
        "",
        "The authorities, PEM, that client certificates are checked against.",
        "gunicorn ca_certs: none.",
        unit="a PEM file",
    )
    tls_client: str = row(
        "tls",
        "choice",
        "none",
        "Client certificates: none = not asked for; optional = checked if sent; required = no request without.",
        "nginx ssl_verify_client: off.",
        choices=("none", "optional", "required"),
    )
    tls_min: str = row(
        "tls",
        "choice",
        "1.2",
        "The oldest version of TLS that is spoken.",
        "Mozilla's intermediate profile and Python's own default: 1.2.",
        choices=("1.2", "1.3"),
    )
    tls_ciphers: str = row(
        "tls",
        "str",
        "ECDHE+AESGCM:ECDHE+CHACHA20",
        "The ciphers of TLS 1.2, in OpenSSL's notation (those of 1.3 are all good and cannot be chosen).",
        "Mozilla's intermediate profile, without its finite-field ones.",
        unit="OpenSSL's cipher list",
    )
    tls_handshake_timeout_s: float = row(
        "tls",
        "seconds",
        10.0,
        "A handshake that takes longer is cut off.",
        "Go's http.Transport TLSHandshakeTimeout: 10 s.",
        min=0.1,
        max=3600,
    )
    tls_self_signed: bool = row(
        "tls",
        "bool",
        False,
        "For development: TLS with a certificate made at start, which no browser trusts.",
        "Flask's ssl_context='adhoc': off.",
    )
    https_redirect: tuple[str, ...] = row(
        "tls",
        "list",
        (),
        "An address to listen on without TLS, where every request is sent on to https.",
        "nginx and Caddy do it with a server of its own; none by default.",
        unit="an address, as in 0.0.0.0:80",
        reloadable=False,
    )

    # --- proxies ----------------------------------------------------------------------------------------

    trusted_proxies: tuple[str, ...] = row(
        "proxies",
        "list",
        (),
        "Addresses and networks, or unix, of proxies that are believed when they name the client (proxy_headers). "
        "With any of these given, the fields are taken away from everybody else's requests.",
        "waitress trusted_proxy: none. (gunicorn trusts 127.0.0.1.)",
        unit="a network, as in 10.0.0.0/8, or unix",
        check=check_networks,
    )
    proxy_headers: str = row(
        "proxies",
        "choice",
        "x-forwarded",
        "What a trusted proxy writes: x-forwarded = the fields that forwarded_fields names; "
        "forwarded = Forwarded (RFC 7239); none = neither.",
        "waitress, gunicorn and uvicorn: X-Forwarded-*; most proxies write nothing else.",
        choices=("x-forwarded", "forwarded", "none"),
    )
    forwarded_fields: tuple[str, ...] = row(
        "proxies",
        "list",
        ("for", "proto"),
        "The X-Forwarded fields that are believed: for, proto, host, port, prefix. Name only those that the proxy sets "
        "in every request: most proxies pass on what a client has written under the other names.",
        "werkzeug ProxyFix: For and Proto; uvicorn the same; waitress trusted_proxy_headers: none.",
        unit="names among for, proto, host, port, prefix",
        check=check_forwarded_fields,
    )
    proxy_protocol: bool = row(
        "proxies",
        "bool",
        False,
        "Every connection begins with a PROXY protocol header, version 1 or 2, from a trusted proxy.",
        "gunicorn proxy_protocol: off.",
    )
    proxy_protocol_timeout_s: float = row(
        "proxies",
        "seconds",
        5.0,
        "A connection whose PROXY header takes longer is cut off.",
        "The specification of the protocol: at least 3 s, which lets one packet be lost.",
        min=0.1,
        max=3600,
    )
    root_path: str = row(
        "proxies",
        "str",
        "",
        "The prefix under which the application lives (SCRIPT_NAME); it is taken off the path where it stands there.",
        "uvicorn --root-path: none.",
        unit="a path, as in /shop",
        check=check_root_path,
    )
