"""The rows that bound what a client can make the server do or hold. See `settings`.

Every default cites its precedent, or says that there is none (STYLE rule 15).
"""

from __future__ import annotations

from vivace.config.row import row

KiB = 1 << 10
MiB = 1 << 20
GiB = 1 << 30


class Limits:
    """Sections limits, body and timeouts."""

    # --- limits on a request ----------------------------------------------------------------------------

    connections_max: int = row(
        "limits",
        "int",
        20000,
        "Connections open at once; more wait in the backlog.",
        "None that fits (nginx 512, gunicorn 1000 and waitress 100 a process): the 10,000 idle ones that a "
        "server is expected to hold, twice.",
        min=1,
        max=1_000_000,
        unit="connections",
    )
    request_line_bytes_max: int = row(
        "limits",
        "bytes",
        8190,
        "The longest request line; longer is answered 414.",
        "Apache LimitRequestLine: 8190. RFC 9112 section 3 asks for 8000 at least.",
        min=64,
        max=MiB,
    )
    head_bytes_max: int = row(
        "limits",
        "bytes",
        64 * KiB,
        "The largest request head, all its fields together; larger is answered 431.",
        "Between nginx, 4 buffers of 8 KiB, and Go's net/http, 1 MiB.",
        min=256,
        max=16 * MiB,
    )
    fields_max: int = row(
        "limits",
        "int",
        100,
        "The most header fields in a request; more is answered 431.",
        "Apache LimitRequestFields and Python's http.client: 100.",
        min=1,
        max=10000,
        unit="fields",
    )
    field_bytes_max: int = row(
        "limits",
        "bytes",
        16 * KiB,
        "The longest single header field; longer is answered 431.",
        "Windows http.sys MaxFieldLength: 16384. (Apache's 8190 is too little for some Kerberos tokens.)",
        min=64,
        max=16 * MiB,
    )
    underscores: str = row(
        "limits",
        "choice",
        "drop",
        "Header fields whose name has an underscore, which WSGI cannot tell from a dash: drop them, refuse "
        "the request with 400, or keep them.",
        "nginx underscores_in_headers off: dropped.",
        choices=("drop", "refuse", "keep"),
    )
    body_bytes_max: int = row(
        "limits",
        "bytes",
        GiB,
        "The largest request body; larger is answered 413.",
        "waitress max_request_body_size and Apache LimitRequestBody (since 2.4.53): 1 GiB.",
        min=1,
        max=1 << 50,
        zero="no limit",
    )

    # --- bodies -----------------------------------------------------------------------------------------

    body_memory_bytes: int = row(
        "body",
        "bytes",
        MiB,
        "A request body larger than this is kept in a temporary file, not in memory.",
        "Starlette's 1 MiB; waitress inbuf_overflow 512 KiB, nginx client_body_buffer_size 16 KiB.",
        min=0,
        max=GiB,
    )
    spill_dir: str = row(
        "body",
        "dir",
        "",
        "Where those temporary files are made; empty is the system's temporary directory.",
        "waitress and Werkzeug: the directory that Python's tempfile takes.",
        unit="a directory",
    )
    body_stream: bool = row(
        "body",
        "bool",
        False,
        "Call the application when the head is complete and let it read the body as it arrives; a slow "
        "upload then holds a thread.",
        "nginx proxy_request_buffering on, waitress: the body is read first.",
    )
    response_buffer_bytes: int = row(
        "body",
        "bytes",
        MiB,
        "Bytes of a response held for a slow client before the thread that produces it has to wait.",
        "waitress outbuf_overflow: 1 MiB.",
        min=4 * KiB,
        max=GiB,
    )

    # --- time limits ------------------------------------------------------------------------------------

    head_timeout_s: float = row(
        "timeouts",
        "seconds",
        30.0,
        "A request's head must be complete this long after its first byte, or a new connection's first byte.",
        "Between Apache's mod_reqtimeout, 20 to 40 s, and nginx client_header_timeout, 60 s.",
        min=0.1,
        max=3600,
    )
    body_timeout_s: float = row(
        "timeouts",
        "seconds",
        60.0,
        "The longest pause between two parts of a request's body.",
        "nginx client_body_timeout: 60 s.",
        min=0.1,
        max=3600,
    )
    body_rate_bytes_min: int = row(
        "timeouts",
        "bytes",
        500,
        "Bytes a second that a request's body must bring on average.",
        "Apache mod_reqtimeout: MinRate=500.",
        min=1,
        max=GiB,
        zero="any rate",
    )
    keepalive_timeout_s: float = row(
        "timeouts",
        "seconds",
        75.0,
        "How long a connection may lie idle between two requests.",
        "nginx keepalive_timeout: 75 s.",
        min=0.1,
        max=86400,
    )
    write_timeout_s: float = row(
        "timeouts",
        "seconds",
        60.0,
        "The longest that a client may take nothing of its response; then it is reset.",
        "nginx send_timeout: 60 s.",
        min=0.1,
        max=3600,
    )
    queue_timeout_s: float = row(
        "timeouts",
        "seconds",
        60.0,
        "A request that would wait longer than this to be begun is answered 503 with Retry-After, at once.",
        "nginx proxy_read_timeout, 60 s: by then no one waits for the answer.",
        min=0.001,
        max=86400,
        zero="never",
    )
    request_timeout_s: float = row(
        "timeouts",
        "seconds",
        0.0,
        "A request that takes longer in the application is answered 504, its thread interrupted and its stack logged.",
        "None: gunicorn's timeout, 30 s, watches workers and not requests; mod_wsgi request-timeout is 60 s, uWSGI's "
        "harakiri off. Reports and uploads may take long, so it is off until asked for.",
        min=0.01,
        max=86400,
        zero="never",
    )
    shutdown_timeout_s: float = row(
        "timeouts",
        "seconds",
        30.0,
        "How long a stopping server lets requests in flight finish; 0 waits for none.",
        "gunicorn graceful_timeout and Kubernetes terminationGracePeriodSeconds: 30 s.",
        min=0,
        max=86400,
    )
