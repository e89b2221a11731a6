"""deploy/: each file is read by the program that it is for, and what it tells vivace to do is done."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import vivace
from command import Command
from vivace.config.load import load
from vivace.config.settings import Settings
from vivace.observe.metrics import METRICS
from vivace.observe.processes import process_figures
from wire import Client, fetch, request, until

DEPLOY = Path(vivace.__file__).parent.parent.parent / "deploy"

if not DEPLOY.is_dir():
    pytest.skip("vivace is installed without its repository", allow_module_level=True)

TEXTS = {path.relative_to(DEPLOY).as_posix(): path.read_text() for path in sorted(DEPLOY.rglob("*")) if path.is_file()}

DEMO = ("vivace.demo:app", "--bind", "127.0.0.1:0")


def needs(program: str) -> Any:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"there is no {program} here")


def run(*command: str, **options: Any) -> str:
    """What a program says that ends well."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


def settings_of(arguments: list[str], environ: dict[str, str], folder: Path) -> Settings:
    return load(arguments, environ, folder)


def test_every_file_is_tested() -> None:
    source = Path(__file__).read_text()
    assert [name for name in TEXTS if f'"{name}"' not in source] == []


def test_every_file_says_what_it_is() -> None:
    assert [name for name, text in TEXTS.items() if not text.startswith("# ") and not name.endswith(".json")] == []
    assert json.loads(TEXTS["grafana.json"])["description"]


GUIDE = DEPLOY.parent / "docs" / "deployment.md"


@pytest.mark.parametrize("line", re.findall(r"\bvivace (app:app .*?)(?: <.*)?$", GUIDE.read_text(), re.MULTILINE))
def test_every_command_of_the_guide_is_understood(line: str, tmp_path: Path) -> None:
    settings_of(shlex.split(line), {}, tmp_path)


# systemd.


def unit(name: str) -> dict[str, list[str]]:
    """Every assignment of a unit file."""
    found: dict[str, list[str]] = {}
    for line in TEXTS[name].splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """A folder with both units, whose programs exist."""
    for name in ("systemd/app.service", "systemd/app.socket"):
        text = TEXTS[name].replace("/srv/app/.venv/bin/vivace", sys.executable)
        (tmp_path / Path(name).name).write_text(text.replace("/srv/app", str(tmp_path)))
    return tmp_path


@needs("systemd-analyze")
def test_systemd_understands_the_units(units: Path) -> None:
    said = run("systemd-analyze", "verify", "--recursive-errors=no", str(units / "app.service"))
    ours = [line for line in said.splitlines() if "app." in line]
    assert ours == []


@needs("systemd-analyze")
def test_systemd_finds_the_service_well_enclosed(units: Path) -> None:
    """Its own measure: 10 is open, 0 is closed, "OK" ends at 5."""
    run("systemd-analyze", "security", "--offline=yes", "--threshold=20", str(units / "app.service"))


def test_what_systemd_starts(tmp_path: Path) -> None:
    service = unit("systemd/app.service")
    [start] = service["ExecStart"]
    program, *arguments = shlex.split(start)
    assert program.endswith("/vivace")
    settings = settings_of(arguments, {}, tmp_path)
    assert settings.origin("bind") == "default", "else it does not take the socket of systemd"
    [stop_s] = service["TimeoutStopSec"]
    assert int(stop_s) > settings.shutdown_timeout_s + settings.drain_delay_s
    assert int(service["LimitNOFILE"][0]) >= settings.connections_max + 256


@needs("systemd-socket-activate")
def test_the_socket_of_systemd(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    command = ["systemd-socket-activate", "-l", str(path), sys.executable, "-m", "vivace", "vivace.demo:app"]
    environ = {**os.environ, "PYTHONPATH": str(Path(vivace.__file__).parent.parent)}
    with subprocess.Popen([*command, "--workers", "0"], env=environ, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            assert server.stderr.readline().startswith("Listening on ")
            answers = [fetch(f"unix:{path}").status for _ in range(2)]
        finally:
            server.send_signal(signal.SIGTERM)
            _, said = server.communicate()
    assert (answers, server.returncode) == ([200, 200], 0), said


# Containers.


def instructions() -> list[tuple[str, str]]:
    """(instruction, its arguments) of the Dockerfile, continued lines joined."""
    text = re.sub(r"^#.*\n", "", TEXTS["docker/Dockerfile"], flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split()[0], line.split(None, 1)[1].strip()) for line in text.splitlines() if line.strip()]


def image_environ() -> dict[str, str]:
    [variables] = [arguments for name, arguments in instructions() if name == "ENV"]
    return dict(pair.split("=", 1) for pair in shlex.split(variables))


def test_dockerfile(tmp_path: Path) -> None:
    """It cannot be built here. Its order, its user, its command and its settings are looked at."""
    names = [name for name, _ in instructions()]
    assert names[0] == "FROM"
    assert set(names) <= {"FROM", "COPY", "RUN", "WORKDIR", "USER", "ENV", "EXPOSE", "HEALTHCHECK", "CMD"}
    assert names.index("RUN") < names.index("USER") < names.index("CMD")
    given = dict(instructions())
    assert re.fullmatch("[1-9][0-9]*:[1-9][0-9]*", given["USER"])
    program, *arguments = json.loads(given["CMD"])
    assert program == "vivace"
    settings = settings_of(arguments, image_environ(), tmp_path)
    assert settings.bind == (f"0.0.0.0:{given['EXPOSE']}",)
    assert (settings.livez_path, settings.readyz_path) == ("/livez", "/readyz")


def health_check() -> tuple[str, str]:
    """(program, code) of the image's HEALTHCHECK."""
    [check] = [arguments for name, arguments in instructions() if name == "HEALTHCHECK"]
    program, flag, code = json.loads(check.partition("CMD ")[2])
    assert flag == "-c"
    return program, code


def test_the_health_check_of_the_image(tmp_path: Path) -> None:
    program, code = health_check()
    assert program == "python"
    with Command(*DEMO, "--livez-path", "/livez", "--workers", "0", cwd=tmp_path) as command:
        here = code.replace("127.0.0.1:8000", command.url.removeprefix("http://"))
        assert here != code
        run(sys.executable, "-c", here)
        command.send_signal()
        command.wait()
    failed = subprocess.run([sys.executable, "-c", here], capture_output=True, timeout=30, check=False)
    assert failed.returncode == 1


def yaml_of(name: str) -> list[Any]:
    yaml = pytest.importorskip("yaml")
    return list(yaml.safe_load_all(TEXTS[name]))


def seconds(text: str) -> int:
    found = re.fullmatch("([0-9]+)s", text)
    assert found
    return int(found[1])


def test_compose() -> None:
    [file] = yaml_of("docker/compose.yaml")
    [service] = file["services"].values()
    assert set(service) == {
        *("build", "ports", "read_only", "tmpfs", "cap_drop", "security_opt", "stop_grace_period", "restart")
    }
    assert service["read_only"] is True
    assert service["ports"] == ["8000:8000"]
    assert seconds(service["stop_grace_period"]) > load([], {}, "/").shutdown_timeout_s


NAMESPACE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]

as_container = pytest.mark.skipif(
    shutil.which("unshare") is None or subprocess.run([*NAMESPACE, "true"], check=False).returncode != 0,
    reason="no namespace of processes may be made here",
)


@as_container
@pytest.mark.parametrize("signalled", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("workers", ["0", "1"])
def test_as_process_1(tmp_path: Path, workers: str, signalled: int) -> None:
    """A kernel ignores the signals that process 1 has no handler for."""
    with Command(*DEMO, "--workers", workers, cwd=tmp_path, prefix=NAMESPACE) as command:
        assert fetch(command.url).status == 200
        os.kill(first_of(command), signalled)
        assert command.wait() == 0, command.log
    assert "stopped" in command.log


def first_of(command: Command) -> int:
    """The number, out here, of process 1 in there."""
    pid = command.process.pid
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


ORPHANS = """
import subprocess

def app(environ, start_response):
    subprocess.run(["sh", "-c", "(sleep 0.05; touch orphan-has-ended) &"])
    start_response("200 OK", [])
    return []
"""


@as_container
def test_process_1_buries_the_orphans_of_the_application(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(ORPHANS)
    with Command("app:app", "--bind", "127.0.0.1:0", "--workers", "1", cwd=tmp_path, prefix=NAMESPACE) as command:
        assert fetch(command.url).status == 200
        until((tmp_path / "orphan-has-ended").exists)
        first = first_of(command)

        def zombies() -> list[str]:
            children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
            return [pid for pid in children if process_figures(int(pid), threads=False).get("process_state") == "Z"]

        until(lambda: not zombies())
        os.kill(first, signal.SIGTERM)
        assert command.wait() == 0


@as_container
def test_without_anything_to_write_to(tmp_path: Path) -> None:
    """A read-only root and no rights, as compose.yaml and app.yaml ask for."""
    script = 'mount -o remount,bind,ro / 2>/dev/null || mount --bind / / && mount -o remount,bind,ro /; exec "$@"'
    prefix = [*NAMESPACE, "--mount", "sh", "-c", script, "sh"]
    if subprocess.run([*prefix, "sh", "-c", "! touch /read-only-test"], check=False, capture_output=True).returncode:
        pytest.skip("the root cannot be mounted read-only here")
    with Command(*DEMO, "--workers", "1", cwd=tmp_path, prefix=prefix) as command:
        assert fetch(command.url).status == 200
        assert fetch(command.url, request("/", method="POST", body=b"x" * 100_000)).status != 500
        os.kill(first_of(command), signal.SIGTERM)
        assert command.wait() == 0


# Kubernetes.


def test_kubernetes_knows_every_field() -> None:
    """Against the schemas of the API."""
    validate = pytest.importorskip("kubernetes_validate")
    documents = yaml_of("kubernetes/app.yaml")
    assert [document["kind"] for document in documents] == ["Deployment", "Service", "PodDisruptionBudget"]
    for document in documents:
        validate.validate(document, "1.32", strict=True)


def test_what_kubernetes_starts(tmp_path: Path) -> None:
    deployment, service, budget = yaml_of("kubernetes/app.yaml")
    pod = deployment["spec"]["template"]["spec"]
    [container] = pod["containers"]
    settings = settings_of([], {row["name"]: row["value"] for row in container["env"]}, tmp_path)
    assert settings.drain_delay_s + settings.shutdown_timeout_s < pod["terminationGracePeriodSeconds"]
    paths = [container[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")]
    assert paths == [settings.livez_path, settings.livez_path, settings.readyz_path]
    ready = container["readinessProbe"]
    assert settings.drain_delay_s > 2 * ready["periodSeconds"] * ready["failureThreshold"]
    [port] = container["ports"]
    assert settings.bind == (f"0.0.0.0:{port['containerPort']}",)
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    selectors = [deployment["spec"]["selector"]["matchLabels"], service["spec"]["selector"]]
    assert [*selectors, budget["spec"]["selector"]["matchLabels"]] == [labels] * 3
    assert service["spec"]["ports"][0]["targetPort"] == port["name"]


# Proxies.


@needs("nginx")
def test_nginx_understands_the_site(tmp_path: Path) -> None:
    main = tmp_path / "nginx.conf"
    site = TEXTS["nginx.conf"].replace("listen 80;", "listen 127.0.0.1:1;")
    folders = "".join(
        f"{what}_temp_path {tmp_path}/{what};" for what in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    main.write_text(
        f"pid {tmp_path}/pid; error_log stderr;\nevents {{}}\nhttp {{ access_log off; {folders}\n{site}\n}}\n"
    )
    assert "test is successful" in run("nginx", "-t", "-p", str(tmp_path), "-c", str(main))


@needs("haproxy")
def test_haproxy_understands_its_file(tmp_path: Path) -> None:
    said = run("haproxy", "-c", "-f", str(DEPLOY / "haproxy.cfg"))
    assert "Configuration file is valid" in said
    assert "ALERT" not in said


# Logs.


@needs("logrotate")
def test_logrotate_rotates_what_the_server_writes(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    files = ("--log-file", str(logs / "app.log"), "--access-log-file", str(logs / "access.log"))
    with Command(*DEMO, *files, "--workers", "0", cwd=tmp_path) as command:
        log, access = logs / "app.log", logs / "access.log"
        url = until(lambda: log.exists() and re.search(r"http://\S+", log.read_text()))[0]
        text = TEXTS["logrotate.conf"].replace("/var/log/app", str(logs)).replace("www-data www-data", "")
        text = re.sub(r"systemctl kill --signal=USR1 .*", f"kill -USR1 {command.process.pid}", text)
        rules = tmp_path / "rules"
        rules.write_text(text)
        rules.chmod(0o644)
        with Client(url) as client:
            for number in range(3):
                client.send(request(f"/{number}")).read_response()
                until(lambda: access.exists() and access.stat().st_size)
                run("logrotate", "--force", "--state", str(tmp_path / "state"), str(rules))
                until(lambda: access.exists() and access.stat().st_size == 0)
        command.send_signal()
        assert command.wait() == 0
    import gzip

    pieces = [gzip.decompress(path.read_bytes()).decode() for path in logs.glob("access.log.*.gz")]
    pieces += [path.read_text() for path in logs.glob("access.log*") if path.suffix != ".gz"]
    assert sorted(re.findall(r"GET /([0-9]+) ", "".join(pieces))) == ["0", "1", "2"]


# Grafana.


def test_every_query_of_grafana_asks_for_metrics_and_labels_that_there_are() -> None:
    board = json.loads(TEXTS["grafana.json"])
    queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    queries += [one["query"] for one in board["templating"]["list"] if one["type"] == "query"]
    known = {
        name: {*row.labels, "le", "instance"}
        for row in METRICS.values()
        for name in (row.name, *(f"{row.name}_{part}" for part in ("total", "bucket", "sum", "count")))
    }
    for query in queries:
        [*names] = re.findall(r"vivace_[a-z_]+", query)
        assert names
        for name in names:
            assert name in known, query
            by = re.search(r"by \(([^)]*)\)", query)
            assert {label.strip() for label in by[1].split(",")} <= known[name] if by else True, query
