"""One HTML document that needs nothing else: for a browser on any screen, an archive, an issue.

Rules: everything is in the file. Its policy (CSP 3) allows its own style and script by their hashes and nothing from
outside. It is light or dark as its reader's system is. Pure.
"""

from __future__ import annotations

import json
from base64 import b64encode
from hashlib import sha256
from html import escape

DOCUMENT = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
{body}
{script}</body>
</html>
"""
SCRIPT = """<script type="application/json" id="data">{data}</script>
<script>{script}</script>
"""


def document(title: str, style: str, body: str, script: str = "", data: object = None) -> str:
    """`title`: text. `style`: CSS. `body`: HTML. `script`: where there is one, it finds `data` as JSON in `#data`."""
    policy = f"default-src 'none'; img-src data:; style-src '{_hash(style)}'"
    if script:
        policy += f"; script-src '{_hash(script)}'"
        # "<" would let a name end the element (HTML, 4.12.1.3).
        text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
        script = SCRIPT.format(data=text, script=script)
    return DOCUMENT.format(policy=policy, title=escape(title), style=style, body=body, script=script)


def _hash(text: str) -> str:
    """As the policy names what it allows (CSP 3, 2.3.1)."""
    return "sha256-" + b64encode(sha256(text.encode()).digest()).decode()
