"""A route that asks three services of elsewhere one after the other, though none needs what another said."""

from __future__ import annotations

from urllib.request import urlopen

import upstream

URL = upstream.start()


def app(environ, start_response):
    price = urlopen(f"{URL}/price?ms=50").read()  # ILL: the first of three waits
    stock = urlopen(f"{URL}/stock?ms=50").read()  # ILL: the second
    rating = urlopen(f"{URL}/rating?ms=50").read()  # ILL: the third
    body = price + stock + rating
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
