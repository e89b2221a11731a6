"""A page of 20,000 bytes of HTML, as pydoc makes it of the standard library, by bare WSGI, Flask and Django; and behind
what compresses such pages in Python. See bench_compress.py.
"""

from __future__ import annotations

import pydoc
import shlex
import textwrap

PAGE = b"".join(
    pydoc.html.page(module.__name__, pydoc.html.document(module, module.__name__)).encode()
    for module in (textwrap, shlex)
)[:20_000]
HEADERS = [("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(PAGE)))]


def app(environ, start_response):
    start_response("200 OK", list(HEADERS))
    return [PAGE]


def paste():
    """Paste's gzip middleware, at its default level of 6."""
    from paste.gzipper import middleware

    return middleware(app)


def flask(compress=False, level=None):
    """A Flask view; with Flask-Compress, at its defaults (zstd 3, br 4, gzip 6) or with gzip at `level`."""
    from flask import Flask, Response

    site = Flask("page")

    @site.get("/")
    def page():
        return Response(PAGE, content_type="text/html; charset=utf-8")

    if compress:
        from flask_compress import Compress

        if level is not None:
            site.config["COMPRESS_LEVEL"] = level
        Compress(site)
    return site


def django(compress=False):
    """A Django view behind the middleware of `startproject` that needs no database; with GZipMiddleware (level 6)."""
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application
    from django.http import HttpResponse
    from django.urls import path

    settings.configure(
        DEBUG=False,
        SECRET_KEY="a benchmark has no secrets",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        MIDDLEWARE=[
            "django.middleware.security.SecurityMiddleware",
            *(["django.middleware.gzip.GZipMiddleware"] if compress else []),
            "django.middleware.common.CommonMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.middleware.clickjacking.XFrameOptionsMiddleware",
        ],
    )
    globals()["urlpatterns"] = [path("", lambda request: HttpResponse(PAGE, content_type="text/html"))]
    return get_wsgi_application()
