"""The public suite for HTTP caches (github.com/http-tests/cache-tests), run against vivace's cache; writes its page.

    git clone https://github.com/http-tests/cache-tests && (cd cache-tests && npm install --omit=dev)
    python -m benchmarks.cache_tests cache-tests                 # some two minutes; writes docs/cache-tests.md
    python -m benchmarks.cache_tests cache-tests --test vary-match      # one test, with its messages; writes nothing

The suite's own origin stands behind vivace, reached by a WSGI application that hands every request on
(`apps/to_origin.py`); its own client asks, and its own code scores, the published results of other caches as well.
Needs node 20 or newer.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from .processes import START_LIMIT_S, Running, Unfit, cores, free_port

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "cache-tests.md"
RUN_LIMIT_S = 300

SETTINGS = {"vivace": ("--cache",), "vivace, `error=1m`": ("--cache", "--cache-rule", "/test/* error=1m")}

OTHERS = ("trafficserver", "apache", "squid", "caddy", "varnish", "nginx", "haproxy", "fastly")
"""Files of the suite's published results."""

BESIDE = ("trafficserver", "varnish", "nginx")
"""Those that stand in the table by group."""

# Prints [{name, version, groups: [{id, name, tests: [{id, kind, mark, message}]}]}] for files of results.
SCORE = """
import fs from 'node:fs'
const [root, ...files] = process.argv.slice(1)
const { determineTestResult } = await import(root + '/test-engine/lib/results.mjs')
const suites = (await import(root + '/tests/index.mjs')).default
const known = (await import(root + '/results/index.mjs')).default
console.log(JSON.stringify(files.map(file => {
  const results = JSON.parse(fs.readFileSync(file))
  const { name = '', version = '' } = known.find(({ file: one }) => file.endsWith('/' + one)) || {}
  return { name, version, groups: suites.map(suite => ({
    id: suite.id, name: suite.name, tests: suite.tests.filter(test => !test.browser_only).map(test => ({
      id: test.id, kind: test.kind || 'required', mark: determineTestResult(suites, test.id, results)[2],
      message: Array.isArray(results[test.id]) ? results[test.id][1] : ''
    }))
  })) }
})))
"""

PASSES = ("\u2705", "Y")
DEPENDS = "\u26aa\ufe0f"
KINDS = ("required", "optimal", "check")

INTERIM = "WSGI has no way to hand an interim (1xx) response on"
BROKEN_206 = "the test's own Content-Range names a byte more than its body has: what does not add up is not kept"
NO_STALE = (
    "it first needs a cache that answers stale when its origin is gone; vivace does so where the response or a rule"
)
WHY = {
    **dict.fromkeys(("interim-102", "interim-103", "interim-not-cached", "interim-no-header-reuse"), INTERIM),
    **dict.fromkeys(
        (
            "partial-store-partial-reuse-partial",
            "partial-store-partial-reuse-partial-byterange",
            "partial-store-partial-reuse-partial-absent",
            "partial-store-partial-reuse-partial-suffix",
        ),
        f"partial responses of the application are not kept; here {BROKEN_206}",
    ),
    "partial-store-partial-complete": "partial responses of the application are not kept",
    **dict.fromkeys(
        (
            "stale-close-must-revalidate",
            "stale-close-proxy-revalidate",
            "stale-close-no-cache",
            "stale-close-s-maxage=2",
        ),
        f"{NO_STALE} says `stale-if-error`. By itself the test passes",
    ),
    "headers-store-Set-Cookie": "a response with Set-Cookie is not kept: it may log somebody in",
    "other-set-cookie": "a response with Set-Cookie is not kept: it may log somebody in",
    "method-POST": "responses to POST are not kept",
    "vary-normalise-lang-order": "frameworks take the first of equally good languages: order matters to them",
    "vary-normalise-lang-select": "which language would have been chosen is the application's to say",
    "conditional-lm-fresh-no-lm": "its condition is older than the response's Date, so what is kept counts as newer",
}
"""Why a test that is required or optimal is not passed."""


class Suite:
    """A checkout of the suite."""

    def __init__(self, checkout: Path) -> None:
        self.root = checkout.resolve()
        if not (self.root / "test-engine" / "cli.mjs").is_file():
            raise SystemExit(f"{checkout} is no checkout of github.com/http-tests/cache-tests")
        if not (self.root / "node_modules").is_dir():
            raise SystemExit(f"its parts are missing: (cd {checkout} && npm install --omit=dev)")

    def run(self, arguments: Iterable[str], test: str = "") -> str:
        """What the suite's client prints of vivace with these arguments."""
        origin, port = free_port(), free_port()
        known = {"npm_config_protocol": "http", "npm_config_port": str(origin), "npm_config_id": test}
        with tempfile.TemporaryDirectory() as folder:
            known |= {"npm_config_pidfile": f"{folder}/pid", "npm_package_config_id": ""}
            server = ["node", str(self.root / "test-engine/server/server.mjs")]
            ours = [sys.executable, "-m", "vivace", "--bind", f"127.0.0.1:{port}", "--threads", "40", *arguments]
            ours.append(str(ROOT / "benchmarks" / "apps" / "to_origin.py") + ":app")
            path = os.pathsep.join([str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
            behind = {"ORIGIN": f"localhost:{origin}", "PYTHONPATH": path}
            with (
                Running(server, str(self.root), known, origin, cores()[1]) as one,
                Running(ours, str(ROOT), behind, port, cores()[0]) as other,
            ):
                for started in (one, other):
                    wait_listening(started)
                client = ["node", "--no-warnings", str(self.root / "test-engine/cli.mjs")]
                asked = {**os.environ, **known, "npm_config_base": f"http://127.0.0.1:{port}"}
                done = subprocess.run(
                    client, env=asked, capture_output=True, text=True, timeout=RUN_LIMIT_S, check=True
                )
        return done.stdout

    def score(self, files: Iterable[str]) -> list[dict]:
        """Each file of results as `SCORE` tells it."""
        command = ["node", "--input-type=module", "--no-warnings", "-e", SCORE, str(self.root), *files]
        return json.loads(subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout)

    @property
    def commit(self) -> str:
        command = ["git", "-C", str(self.root), "log", "-1", "--format=%h, %cs"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def wait_listening(started: Running) -> None:
    """Raises Unfit."""
    while time.perf_counter() - started.started < START_LIMIT_S and started.process.poll() is None:
        try:
            socket.create_connection(("localhost", started.address[1]), 1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise Unfit(f"it does not listen: {started.last_words()}")


# The page.

ABOUT = """\
[http-tests/cache-tests](https://github.com/http-tests/cache-tests) at {commit}, asks a cache as a client and sees
what reaches the origin behind it. It says of itself that passing all of it means nothing: it shows what a cache does.
"Required" is what HTTP demands, "optimal" what a good cache does as well, "check" a question without a right answer.
[What vivace keeps and reuses](caching.md)

Made by `python -m benchmarks.cache_tests CHECKOUT`: the suite's origin behind a WSGI application that hands requests
on, in vivace with `--cache`. The second line is with `--cache-rule '/test/* error=1m'`: it allows stale answers where
the application fails, which most other caches give unasked. The others are the results that the suite publishes,
scored by the same code.

"""


def marks(run: dict, kind: str, group: str = "") -> list[str]:
    tests = [test for one in run["groups"] if group in ("", one["id"]) for test in one["tests"]]
    return [test["mark"] for test in tests if test["kind"] == kind]


def passed(run: dict, kind: str, group: str = "") -> str:
    """How many of how many, "" if there are none."""
    found = marks(run, kind, group)
    return f"{sum(mark in PASSES for mark in found)}/{len(found)}" if found else ""


def totals(runs: list[dict]) -> list[str]:
    lines = [
        "| cache | required | of these not tried, as another test failed | optimal | check: yes |",
        "|---|---|---|---|---|",
    ]
    for run in runs:
        ours = run["name"].startswith("vivace")
        name = f"**{run['name']}**" if ours else f"{run['name']} {run['version'].partition('-')[0]}"
        untried = marks(run, "required").count(DEPENDS)
        lines.append(
            f"| {name} | {passed(run, 'required')} | {untried} | {passed(run, 'optimal')} | {passed(run, 'check')} |"
        )
    return lines


def by_group(runs: list[dict]) -> list[str]:
    ours, *others = runs
    lines = [
        "| group | required | optimal | check: yes | " + " | ".join(run["name"] for run in others) + " |",
        "|---|---|---|---|" + "---|" * len(others),
    ]
    for group in ours["groups"]:
        cells = [passed(ours, kind, group["id"]) for kind in KINDS]
        cells += [" + ".join(filter(None, [passed(run, kind, group["id"]) for kind in KINDS[:2]])) for run in others]
        if any(cells):
            lines.append(f"| {group['name']} | " + " | ".join(cells) + " |")
    return lines


def failures(run: dict) -> list[str]:
    lines = ["| test | kind | why |", "|---|---|---|"]
    for group in run["groups"]:
        for test in group["tests"]:
            if test["kind"] != "check" and test["mark"] not in PASSES:
                why = WHY.get(test["id"]) or f"not known yet: {test['message'] or test['mark']}"
                lines.append(f"| `{test['id']}` | {test['kind']} | {why} |")
    return lines


def page(ours: list[dict], others: list[dict], commit: str) -> str:
    """docs/cache-tests.md."""
    beside = [run for run in others if any(name in run.get("file", "") for name in BESIDE)]
    best = sorted(others, key=lambda run: -sum(mark in PASSES for mark in marks(run, "required")))
    return "\n".join(
        [
            "# The public suite for HTTP caches",
            "",
            *ABOUT.format(commit=commit).splitlines(),
            *totals([*ours, *best]),
            "",
            "## By group",
            "",
            "For the others: required, and optimal.",
            "",
            *by_group([ours[0], *beside]),
            "",
            "## What vivace does not pass, and why",
            "",
            *failures(ours[0]),
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="The public suite for HTTP caches, against vivace's.")
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--test", default="", help="one test, with its messages; no page is written")
    parser.add_argument("--keep", type=Path, help="a folder for the raw results")
    options = parser.parse_args()
    suite = Suite(options.checkout)
    if options.test:
        print(suite.run(SETTINGS["vivace"], options.test))
        return
    with tempfile.TemporaryDirectory() as folder:
        kept = options.keep or Path(folder)
        kept.mkdir(parents=True, exist_ok=True)
        files = []
        for number, (name, arguments) in enumerate(SETTINGS.items()):
            files.append(kept / f"vivace{number}.json")
            files[-1].write_text(suite.run(arguments))
            print(f"{name}: done", file=sys.stderr)
        ours = suite.score(map(str, files))
    for run, name in zip(ours, SETTINGS, strict=True):
        run["name"] = name
        if not any(mark in PASSES for mark in marks(run, "required")):
            raise Unfit(f"{name} passed nothing: it has not served; see --test freshness-max-age")
    published = [str(suite.root / "results" / f"{name}.json") for name in OTHERS]
    others = suite.score(published)
    for run, name in zip(others, OTHERS, strict=True):
        run["file"] = name
    PAGE.write_text(page(ours, others, suite.commit))
    for run in ours:
        print(run["name"], *(f"{kind} {passed(run, kind)}" for kind in KINDS))


if __name__ == "__main__":
    main()
