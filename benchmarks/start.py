"""Starts the peers that have no command, or whose command lacks a needed setting: `start.py SERVER MODULE
PORT`.

Runs in its own process with the folder of applications as working directory. Knows nothing of the rest of the
package.
"""

from __future__ import annotations

import importlib
import os
import sys


def bjoern(app, port):
    import bjoern

    bjoern.run(app, "127.0.0.1", port)


def fastwsgi(app, port):
    import fastwsgi

    fastwsgi.run(app, "127.0.0.1", port, loglevel=0)


def wsgiref(app, port):
    from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

    class Quiet(WSGIRequestHandler):
        def log_message(self, *args):
            """A line per request on stderr would cost it time that no other server spends here."""

    class Queueing(WSGIServer):
        request_queue_size = 1024  # with the default of 5 the loader's connections are dropped, not queued

    make_server("127.0.0.1", port, app, server_class=Queueing, handler_class=Quiet).serve_forever()


SERVERS = {"bjoern": bjoern, "fastwsgi": fastwsgi, "wsgiref": wsgiref}


def main():
    server, module, port = sys.argv[1:]
    sys.path[0] = os.getcwd()
    SERVERS[server](importlib.import_module(module).app, int(port))


if __name__ == "__main__":
    main()
