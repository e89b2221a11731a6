"""Makes docs/images/dashboard-*.png: `python tests/photograph.py`, with vivace and Pillow importable, in two minutes.

A server under a load with something of everything is photographed in light, in the dark and on a phone.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

import admin
from admin import Clients, Shown
from browser import Browser

IMAGES = Path(__file__).parent.parent / "docs" / "images"
SCREENS = (
    ("light", {"width": 1280, "height": 800}),
    ("dark", {"width": 1280, "height": 800, "dark": True}),
    ("phone", {"width": 360, "height": 740, "phone": True}),
)
APP = """
import random, time

TIMES = {"orders": (0.02, 0), "search": (0.004, 0.002), "report": (0.25, 0.03), "cart": (0, 0.0003)}

def app(environ, start_response):
    room = environ["PATH_INFO"].split("/")[1]
    wait, work = TIMES.get(room, (0, 0))
    if wait:
        time.sleep(random.lognormvariate(0, 0.5) * wait)
    end = time.perf_counter() + random.lognormvariate(0, 0.3) * work
    while time.perf_counter() < end:
        pass
    if room == "pay" and random.random() < 0.02:
        raise ConnectionError("the bank does not answer: 10.0.0.7:443")
    body = b"x" * random.choice((200, 2000, 12000))
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


def main() -> int:
    admin.APP = APP
    IMAGES.mkdir(exist_ok=True)
    paths = [*["/", "/cart/17", "/items/8", "/"] * 3, "/orders/5", "/orders", "/search", "/pay"]
    with tempfile.TemporaryDirectory() as folder, Shown(Path(folder), "-w2", "--slow-request", "400ms") as server:
        slow = Clients(server.port, "/report/2026", count=2)
        with Clients(server.port, *paths, count=6), slow, Browser() as browser:
            time.sleep(60)
            with Clients(server.port, *paths, count=8):
                time.sleep(25)
            time.sleep(25)
            for name, screen in SCREENS:
                browser.look(**screen)
                browser.open(f"{server.admin}/")
                time.sleep(2.5)
                path = IMAGES / f"dashboard-{name}.png"
                browser.photograph(path)
                with Image.open(path) as image:  # a third of the size
                    image.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
                        path, optimize=True
                    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
