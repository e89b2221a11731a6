"""A page of about 10 KB rendered by Jinja2 in each request: a table of 74 rows, escaped, with a loop and a
condition.
"""

from __future__ import annotations

from jinja2 import DictLoader, Environment

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ title }}</title></head>
<body><h1>{{ title }}</h1>
<table>
{% for row in rows %}
<tr class="{{ loop.cycle('odd', 'even') }}"><td>{{ row.number }}</td><td>{{ row.name }}</td>
{% if row.price > 20 %}<td class="dear">{{ row.price }}</td>{% else %}<td>{{ row.price }}</td>{% endif %}
<td>{{ row.text }}</td></tr>
{% endfor %}
</table></body></html>
"""
TEMPLATE = Environment(loader=DictLoader({"page": PAGE}), autoescape=True).get_template("page")
ROWS = [
    {
        "number": n,
        "name": f"Article {n} & more",
        "price": n * 7 % 50,
        "text": "A line of plain words <in> the shop.",
    }
    for n in range(74)
]


def app(environ, start_response):
    body = TEMPLATE.render(title="Ten kilobytes", rows=ROWS).encode()
    start_response("200 OK", [("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(body)))])
    return [body]
