"""A Flask view that returns JSON, with Flask's defaults."""

from __future__ import annotations

from flask import Flask, jsonify

app = Flask(__name__)


@app.get("/")
def index():
    return jsonify(message="Hello, World!", numbers=[1, 2, 3], nested={"ok": True})
