"""`templates`, cured: compiled once."""

from __future__ import annotations

import time

from flask import Flask
from jinja2 import Template

app = Flask(__name__)
PAGE = """<!doctype html><title>{{ title }}</title><table>
{% for row in rows %}<tr class="{{ loop.cycle('odd', 'even') }}"><td>{{ row }}<td>{{ at }}</tr>
{% endfor %}</table>{% if rows | length > 3 %}<p>{{ rows | length }} rows, {{ title | upper }}{% endif %}"""
TEMPLATE = Template(PAGE)


@app.get("/page")
def page() -> str:
    return TEMPLATE.render(title="Rows", rows=range(80), at=time.time_ns())
