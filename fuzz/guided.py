"""The engine that is led by coverage: atheris (libFuzzer for Python) on one target after the other.

    python -m fuzz --engine guided --seconds 60          all targets, so long in all
    python -m fuzz.guided stream -max_total_time=60 DIR  one, with libFuzzer's own options

Each target runs in a process of its own: libFuzzer ends the process that it runs in.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from . import ROOT

INPUT_BYTES_MAX = 2000
CUTS = b"\x10\x40"
"""An input begins with two bytes that say where the stream behind them is cut."""


def run_all(seconds: float, keep: bool) -> int:
    """Every target for its share of `seconds`; 1 if something was broken."""
    from . import seeds

    broken = 0
    kept = seeds.load()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as temporary:
        for kind in seeds.KINDS:
            corpus = Path(temporary, kind)
            corpus.mkdir()
            begin = [*first(kind), *(data for name, data in kept if name == kind)]
            for number, data in enumerate(begin):
                (corpus / f"seed-{number}").write_bytes(CUTS + data)
            share = max(1, round(seconds / len(seeds.KINDS)))
            code, text = one(kind, temporary, f"-max_total_time={share}", str(corpus))
            done = re.findall(r"^Done (\d+) runs in (\d+) second", text, re.MULTILINE)
            found = [path.read_bytes()[len(CUTS) :] for path in corpus.iterdir() if not path.name.startswith("seed-")]
            print(
                f"{kind}: {done[0][0] if done else 'no'} runs in {share} s, {len(found)} streams found, exit {code}",
                flush=True,
            )
            if code:
                broken = 1
                print(text[-4000:])
            # libFuzzer keeps what reached code that nothing before it had reached.
            kept += [(kind, data) for data in found if data and len(data) <= seeds.BYTES_MAX]
    if keep:
        seeds.save(kept)
    return broken


def first(kind: str) -> list[bytes]:
    """What a target begins with, beside the seeds: the wire corpus, or the parts of it that the target reads."""
    import wire_corpus

    requests = [case.request for case in wire_corpus.load() if len(case.request) < INPUT_BYTES_MAX // 2]
    parts = [request.partition(b"\r\n\r\n") for request in requests]
    return {
        "stream": requests,
        "chunks": [body for head, _, body in parts if b"chunked" in head],
        "partial": [head for head, _, _ in parts],
        "line": [head.partition(b"\r\n")[0] for head, _, _ in parts],
    }[kind]


def one(kind: str, folder: str, *options: str) -> tuple[int, str]:
    """Runs one target; (exit code, what it wrote)."""
    command = [sys.executable, "-m", "fuzz.guided", kind, f"-max_len={INPUT_BYTES_MAX}", f"-artifact_prefix={folder}/"]
    run = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, errors="replace")
    return run.returncode, run.stdout + run.stderr


def main(kind: str, options: list[str]) -> None:
    """Fuzzes one target in this process; does not return."""
    import atheris

    # Nothing of vivace may be imported before this: it would not be instrumented.
    with atheris.instrument_imports(include=["vivace"]):
        from . import seeds

    def run(data: bytes) -> None:
        stream = data[len(CUTS) :]
        cuts = sorted({cut for cut in data[: len(CUTS)] if 0 < cut < len(stream)})
        seeds.replay(kind, stream, cuts)

    atheris.Setup([sys.argv[0], *options], run)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
