"""worker.annotations and config.tracing: which settings are refused, and that without them nothing is imported."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from vivace.config.load import from_keywords, load
from vivace.errors import SettingError

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"request_id": ""}, "is no name of a field; give off, on, or a name such as X-Request-ID"),
        ({"request_id": "X Request"}, "is no name of a field"),
        ({"request_id": "X-Caf\xe9"}, "is no name of a field"),
        ({"request_id": "7"}, "is no name of a field"),
        ({"request_id": "Content-Length"}, "is a field of HTTP with another meaning"),
        ({"request_id": "set-cookie"}, "is a field of HTTP with another meaning"),
        ({"request_id": True}, "True is a boolean; give off, on or the name of a field"),
        ({"request_id_from": "anyone"}, "request_id_from: request_id is off, so nothing is taken over"),
        ({"trace_from": "proxies"}, "trace_from: trace is off, so nothing is taken over"),
        ({"request_id": "on", "request_id_from": "all"}, "'all' is none of proxies, anyone"),
        ({"server_timing": "yes"}, "'yes' is none of off, on, demand, and no fraction such as 0.01"),
        ({"server_timing": 1.5}, "'1.5' is none of off, on, demand, and no fraction"),
        ({"server_timing": "nan"}, "'nan' is none of off, on, demand, and no fraction"),
        ({"server_timing": "0_1"}, "'0_1' is none of"),
        ({"server_timing": "demand"}, "server_timing: with demand a client shows a token in X-Server-Timing"),
        ({"trace": "on"}, "'on' is none of off, pass, otel"),
        ({"trace": "pass", "trace_sample": -1}, "'-1' is no fraction; give a number from 0 to 1, as in 0.01"),
        ({"trace": "pass", "trace_sample": "half"}, "'half' is no fraction"),
    ],
)
def test_wrong(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(SettingError) as raised:
        from_keywords(**settings)
    assert problem in str(raised.value)


def test_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "vivace.toml").write_text('[tracing]\nrequest_id = "on"\nserver_timing = 0.01\ntrace_sample = 1\n')
    settings = load(["app:app"], {}, tmp_path)
    assert (settings.request_id, settings.server_timing, settings.trace_sample) == ("on", "0.01", "1")


def test_from_the_command_line(tmp_path: Path) -> None:
    settings = load(["app:app", "--server-timing", "on", "--trace", "pass", "--trace-sample", "0.5"], {}, tmp_path)
    assert (settings.server_timing, settings.trace, settings.trace_sample) == ("on", "pass", "0.5")


IMPORTS = """
import sys, vivace
with vivace.background(lambda environ, start_response: []{settings}):
    print(*sys.modules)
"""


@pytest.mark.parametrize(("settings", "imported"), [("", False), (", request_id='on', trace='pass'", True)])
def test_what_is_imported(settings: str, imported: bool) -> None:
    code = IMPORTS.format(settings=settings)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = set(run.stdout.split())
    assert ("vivace.connection.annotating" in modules) == ("vivace.http1.trace_context" in modules) == imported
    assert not {"opentelemetry", "uuid", "hmac", "logging", "typing", "vivace.hooks"} & modules
