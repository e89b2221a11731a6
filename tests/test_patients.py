"""The patients of examples/patients: the manifest fits them, all of them answer, and the marked ones are found out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
if not (ROOT / "examples" / "patients").is_dir():
    pytest.skip("vivace is installed without its repository", allow_module_level=True)
sys.path.insert(0, str(ROOT))

from benchmarks.patients import FOLDER, MARK, Patient, Verdict, examine, patients  # noqa: E402

from vivace.explain.table import KINDS  # noqa: E402

PATIENTS = patients()
EACH = pytest.mark.parametrize("patient", PATIENTS, ids=lambda patient: patient.name)
HELPERS = {"upstream", "library"}


def test_there_are_twelve_and_two_have_two_illnesses() -> None:
    assert len([patient for patient in PATIENTS if len(patient.illness) == 1]) >= 12
    assert len([patient for patient in PATIENTS if len(patient.illness) == 2]) == 2
    assert {patient.on.partition(",")[0] for patient in PATIENTS} == {"WSGI", "Flask", "Django"}


def test_the_doctor_knows_each_illness() -> None:
    assert {illness for patient in PATIENTS for illness in patient.illness} <= set(KINDS)


def test_every_file_is_in_the_manifest() -> None:
    named = {name for patient in PATIENTS for name in (patient.name, patient.cured)}
    assert {path.stem for path in FOLDER.glob("*.py")} == named | HELPERS


@EACH
def test_the_ill_line_is_marked_and_the_cured_one_has_none(patient: Patient) -> None:
    assert bool(patient.marked) or patient.place in ("", "route")
    if patient.cured != patient.name:
        assert MARK not in (FOLDER / f"{patient.cured}.py").read_text()
    else:
        assert patient.cure


# Imports what they have in common once, and forks for each: [module, targets] -> statuses.
ANSWERS = """
import atexit, json, os, sys
import django.core.wsgi, django.db.models, flask, jinja2, urllib.request
from wsgiref.util import setup_testing_defaults

def ask(module, target):
    path, _, query = target.partition("?")
    environ = {"PATH_INFO": path, "QUERY_STRING": query}
    setup_testing_defaults(environ)
    said = []
    body = __import__(module).app(environ, lambda status, headers, exc_info=None: said.append(status))
    return [said[0], len(b"".join(body))]

found = {}
for module, targets in json.load(sys.stdin).items():
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            answers = [ask(module, target) for target in targets]
        except BaseException as error:
            answers = repr(error)
        os.write(writer, json.dumps(answers).encode())
        os.close(writer)
        atexit._run_exitfuncs()
        os._exit(0)
    os.close(writer)
    found[module] = json.loads(os.read(reader, 65536))
    os.waitpid(child, 0)
    os.close(reader)
print(json.dumps(found))
"""


def test_all_of_them_answer() -> None:
    for needed in ("flask", "django", "jinja2"):
        pytest.importorskip(needed)
    targets = {name: patient.urls for patient in PATIENTS for name in (patient.name, patient.cured)}
    run = subprocess.run(
        [sys.executable, "-c", ANSWERS],
        input=json.dumps(targets),
        capture_output=True,
        text=True,
        timeout=60,
        cwd=FOLDER,
    )
    assert run.returncode == 0, run.stderr
    answers = json.loads(run.stdout)
    assert set(answers) == set(targets)
    for name, found in answers.items():
        assert isinstance(found, list), (name, found)
        assert len(found) == len(targets[name])
        assert all(status == "200 OK" and length for status, length in found), (name, found)


def finding(name: str, line: int = 0, route: str = "", severity: str = "serious") -> dict[str, object]:
    where = {"file": "/somewhere/quadratic.py", "line": line, "function": "distinct", "text": ""} if line else None
    gain = {"what": "requests/s", "low": 2.0, "likely": 4.0, "high": 6.0, "how": "", "measured": 0.0}
    return {"id": name, "where": where, "route": route, "severity": severity, "gain": gain}


def test_what_counts_as_found() -> None:
    patient = PATIENTS[0]
    ill, (line,) = patient.illness[0], patient.marked
    right = Verdict(
        patient, [finding(ill, line), finding("other")], [finding("other", severity="minor")], {"rate": 5.0}
    )
    assert right.first
    assert right.placed
    assert right.sound == []
    assert right.off == pytest.approx(-0.2)
    assert not Verdict(patient, [finding("other"), finding(ill, line)]).first
    assert not Verdict(patient, [finding(ill, line + 1)]).placed
    assert not Verdict(patient, [finding(ill)]).placed
    assert Verdict(patient, [], [finding("other")]).sound == ["other"]
    assert not Verdict(patient, []).first


@pytest.mark.parametrize("name", ["pretty_json", "series"])
def test_the_doctor_finds_it_out(name: str) -> None:
    """Two of them; of all, `python -m benchmarks.patients` writes docs/patients.md."""
    patient = next(patient for patient in PATIENTS if patient.name == name)
    verdict = Verdict(patient, examine(patient, False, 0.2)["findings"])
    assert verdict.first, verdict.findings
    assert verdict.placed, verdict.findings
