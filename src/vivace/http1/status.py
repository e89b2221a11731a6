"""Reason phrases, and the whole responses that no application makes (RFC 9110 section 15).

Must not know: why a request is refused. `Refused` carries the status and the sentence.
"""

from __future__ import annotations

# The IANA registry of status codes, with the phrases of RFC 9110 where it has one.
REASONS = {
    100: "Continue",
    101: "Switching Protocols",
    102: "Processing",
    103: "Early Hints",
    200: "OK",
    201: "Created",
    202: "Accepted",
    203: "Non-Authoritative Information",
    204: "No Content",
    205: "Reset Content",
    206: "Partial Content",
    207: "Multi-Status",
    208: "Already Reported",
    226: "IM Used",
    300: "Multiple Choices",
    301: "Moved Permanently",
    302: "Found",
    303: "See Other",
    304: "Not Modified",
    305: "Use Proxy",
    307: "Temporary Redirect",
    308: "Permanent Redirect",
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    409: "Conflict",
    410: "Gone",
    411: "Length Required",
    412: "Precondition Failed",
    413: "Content Too Large",
    414: "URI Too Long",
    415: "Unsupported Media Type",
    416: "Range Not Satisfiable",
    417: "Expectation Failed",
    421: "Misdirected Request",
    422: "Unprocessable Content",
    423: "Locked",
    424: "Failed Dependency",
    425: "Too Early",
    426: "Upgrade Required",
    428: "Precondition Required",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    451: "Unavailable For Legal Reasons",
    500: "Internal Server Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    505: "HTTP Version Not Supported",
    506: "Variant Also Negotiates",
    507: "Insufficient Storage",
    508: "Loop Detected",
    511: "Network Authentication Required",
}


def refusal(status: int, detail: str, fields: bytes, head_only: bool = False) -> bytes:
    """The complete response to a request that is not served; the connection closes after it.

    `fields`: the Date line and others, each with its CRLF, or b"". With `head_only` (the request was HEAD) the body is
    left out and its length still told (RFC 9110 section 9.3.2).
    """
    reason = REASONS.get(status, "Error")
    # RFC 9110 section 15.6.4: when to come again.
    retry = "Retry-After: 1\r\n" if status == 503 else ""
    body = f"{status} {reason}: {detail}\n".encode("utf-8", "replace")
    head = (
        f"HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n{retry}"
    ).encode("latin-1")
    return head + fields + (b"\r\n" if head_only else b"\r\n" + body)


def moved(status: str, location: str, fields: bytes) -> bytes:
    """The complete response that sends a client to `location`, ASCII (RFC 9110 section 15.4); the connection closes.

    `fields` as in `refusal`."""
    head = f"HTTP/1.1 {status}\r\nLocation: {location}\r\nContent-Length: 0\r\nConnection: close\r\n"
    return head.encode("ascii") + fields + b"\r\n"
