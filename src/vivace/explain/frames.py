"""What a frame of a stack is: the application's code, or a library and what for. Pure.

Rules: told by file and function names alone, which are the same on every machine but for their beginning.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

    Frame = tuple[str, str, int]
    """(function, file, line)"""

LIBRARY: Final = re.compile(r"(?:^|/)(?:site-packages|dist-packages)/|(?:^|/)lib(?:64)?/python3[.\d]*t?/|^<frozen ")
_TEMPLATE: Final = re.compile(r"\.(?:html?|jinja2?|j2|mako|txt|xml)$|^<template>$")

KINDS: Final[tuple[tuple[str, re.Pattern[str], re.Pattern[str] | None], ...]] = tuple(
    (kind, re.compile(file), re.compile(function) if function else None)
    for kind, file, function in (
        ("import", r"^<frozen importlib\.|^<frozen zipimport|(?:^|/)importlib/(?:_bootstrap|__init__)", ""),
        ("template", r"(?:^|/)jinja2/(?:lexer|parser|compiler|optimizer|idtracking)\.py$", ""),
        ("template", r"(?:^|/)jinja2/environment\.py$", r"^(?:_?compile|_?parse|_generate|from_string)$"),
        (
            "template",
            r"(?:^|/)django/template/(?:base|engine)\.py$",
            r"^(?:compile_nodelist|parse|tokenize|from_string|create_token|compile_filter|parse_until|find_template|get_template)$",
        ),
        (
            "template",
            r"(?:^|/)mako/(?:lexer|parsetree|codegen|template)\.py$",
            r"^(?:parse|compile|_compile|_compile_text|match.*)$",
        ),
        ("regex compile", r"(?:^|/)(?:re/_(?:compiler|parser)|sre_(?:compile|parse))\.py$", ""),
        ("regex", r"(?:^|/)re(?:/__init__)?\.py$", ""),
        ("logging", r"(?:^|/)(?:logging/(?:__init__|handlers)|loguru/.*|structlog/.*)\.py$", ""),
        ("exceptions", r"(?:^|/)(?:traceback|linecache)\.py$", ""),
        (
            "database",
            r"(?:^|/)(?:django/db/|sqlalchemy/|sqlite3/|psycopg2?/|pymysql/|MySQLdb/|pymongo/|peewee|asyncpg/|redis/|pg8000/)",
            "",
        ),
        (
            "http client",
            r"(?:^|/)(?:http/client|urllib/request|socket|ssl)\.py$|(?:^|/)(?:requests|urllib3|httpx|httpcore|aiohttp)/",
            "",
        ),
        # The module json where it leaves it to its part in C. With an indent, say, its part in Python goes on below.
        (
            "encoding",
            r"(?:^|/)json/(?:__init__|encoder|decoder|provider|tag)\.py$",
            r"^(?!_iterencode|_default|py_|JSONObject|JSONArray)",
        ),
        (
            "serialisation",
            r"(?:^|/)(?:json/|yaml/|xml/|pickle|plistlib|csv|simplejson/|rest_framework/|marshmallow/|pydantic/)",
            "",
        ),
        ("copying", r"(?:^|/)copy\.py$", ""),
        ("dates", r"(?:^|/)(?:_strptime|_pydatetime|dateutil/.*)(?:\.py)?$", ""),
        ("child process", r"(?:^|/)subprocess\.py$", ""),
        ("pool", r"(?:^|/)(?:sqlalchemy/pool/.*|psycopg_pool/.*|queue)\.py$|dbutils/", ""),
        ("template use", r"(?:^|/)(?:jinja2|mako)/|(?:^|/)django/template/", ""),
    )
)
"""What a library's frame is there for; the first that fits."""

REPLACED: Final = frozenset({("pool", "database"), ("encoding", "serialisation")})
"""What a frame further in says more exactly."""

TEXTS: Final[tuple[tuple[str, re.Pattern[str]], ...]] = tuple(
    (kind, re.compile(text))
    for kind, text in (
        ("regex compile", r"\bre\.compile\("),
        ("regex", r"\bre\.(?:match|search|sub|subn|findall|finditer|fullmatch|split)\("),
        ("database", r"\.(?:execute|executemany|fetchone|fetchall|fetchmany|commit)\("),
        ("serialisation", r"\b(?:json|pickle|marshal|yaml)\.(?:dumps?|loads?)\("),
        ("copying", r"\b(?:deepcopy|copy\.copy)\("),
        ("hashing", r"\b(?:hashlib|bcrypt|scrypt|pbkdf2_hmac|pbkdf2)\b|\.hexdigest\("),
        ("compression", r"\b(?:zlib|gzip|bz2|lzma)\."),
        ("import", r"^\s*(?:from\s+\S+\s+)?import\s|\bimportlib\.|__import__\("),
        ("logging", r"\blog(?:ger|ging)?\.(?:debug|info|warning|error|exception|critical|log)\("),
        ("sleep", r"\bsleep\("),
        ("sorting", r"\bsorted\(|\.sort\("),
        ("regex", r"\.(?:match|search|fullmatch|findall|finditer|subn?)\("),
    )
)
"""The same of a line of code whose callee has no frame, as what is written in C."""


def is_theirs(file: str) -> bool:
    """Whether it is the application's own code: neither the standard library nor an installed package."""
    return LIBRARY.search(file) is None and not file.startswith("<")


def is_template(file: str) -> bool:
    """Whether the file is a template, which the engine has compiled to code."""
    return _TEMPLATE.search(file) is not None


def own_frame(stack: Sequence[Frame]) -> int:
    """The index of the application's frame that is to answer for this stack (outermost first); -1: there is none.

    The innermost one; but what a module does while it is imported is the doing of the line that imports it.
    """
    found = -1
    for index, (_, file, _) in enumerate(stack):
        if file.startswith("<frozen importlib.") and found >= 0:
            return found
        if is_theirs(file):
            found = index
    return found


def kind_of(stack: Sequence[Frame], own: int, text: str = "") -> str:
    """What is done below the application's frame `own`, whose line is `text`: "" of its own code."""
    found = ""
    for function, file, _ in stack[own + 1 :]:
        name = function.rpartition(".")[2]
        for kind, of_file, of_function in KINDS:
            if of_file.search(file) and (of_function is None or of_function.search(name)):
                # What is asked of the database by way of a template is the database's.
                if not found or (found, kind) in REPLACED or found == "template use":
                    found = kind
                if kind in ("import", "template", "regex compile", "logging", "exceptions", "pool"):
                    return kind
                break
    if found and found != "template use":
        return found
    if text and own == len(stack) - 1:
        for kind, of_text in TEXTS:
            if of_text.search(text):
                return kind
    return found
