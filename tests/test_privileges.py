"""worker.privileges: names to numbers, and the way down that has no way back. Real processes, started as root."""

from __future__ import annotations

import errno
import grp
import json
import os
import pwd
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from unprivileged import readable
from vivace.errors import SettingError
from vivace.worker.privileges import UMASK_KEPT, find_identity, give, owner, set_umask

if TYPE_CHECKING:
    from pathlib import Path

NOBODY = pwd.getpwnam("nobody")
NOGROUP = grp.getgrgid(NOBODY.pw_gid).gr_name
NOT_THERE = 60_123
"""A number that has no entry."""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another")

CHILD = """
import json, os, sys, threading
sys.path.insert(0, {source!r})
from vivace.errors import SettingError
from vivace.worker.privileges import become, find_identity, give

def attempt(call, *arguments):
    try:
        call(*arguments)
        return "done"
    except OSError as error:
        return error.strerror
    except SettingError as error:
        return str(error)

def threads_uids():
    found = set()
    for task in os.listdir("/proc/self/task"):
        with open("/proc/self/task/" + task + "/status") as status:
            found |= {{line.split()[1] for line in status if line.startswith("Uid:")}}
    return sorted(found)

out = {{}}
{script}
print(json.dumps(out))
"""


def child(script: str, *prefix: str, **popen: Any) -> dict[str, Any]:
    """What `script` put into `out`, in a process of its own (which may leave its rights)."""
    python, source = readable()
    run = subprocess.run(
        [*prefix, python, "-c", CHILD.format(source=source, script=script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **popen,
    )
    assert run.returncode == 0, run.stderr
    found: dict[str, Any] = json.loads(run.stdout)
    return found


# Names.


def test_nobody_is_asked_for() -> None:
    assert find_identity("", "") is None
    assert owner(None) == ""


def test_who_it_is_already() -> None:
    assert find_identity(str(os.geteuid()), str(os.getegid())) is None


@pytest.mark.parametrize("user", ["no-such-user", "", "-1", "0x1", "²"])
def test_a_user_that_does_not_exist(user: str) -> None:
    if user:
        with pytest.raises(SettingError, match=rf"user '{user}': no such user on this machine; check the name"):
            find_identity(user, "")


@pytest.mark.parametrize(("user", "group"), [("", "no-such-group"), ("nobody", "no-such-group")])
def test_a_group_that_does_not_exist(user: str, group: str) -> None:
    with pytest.raises(SettingError, match="group 'no-such-group': no such group on this machine"):
        find_identity(user, group)


def test_a_number_that_is_none() -> None:
    """(uid_t) -1 would change nothing."""
    with pytest.raises(SettingError, match="user '4294967295': numbers go up to 4294967294"):
        find_identity("4294967295", "1")


def test_a_number_without_an_entry_needs_a_group() -> None:
    with pytest.raises(SettingError, match=f"user '{NOT_THERE}' has no entry and thus no group; name one with group"):
        find_identity(str(NOT_THERE), "")


@as_root
def test_names_and_numbers() -> None:
    for user in ("nobody", str(NOBODY.pw_uid)):
        found = find_identity(user, "")
        assert found is not None
        assert (found.uid, found.gid, found.name, found.home) == (
            NOBODY.pw_uid,
            NOBODY.pw_gid,
            "nobody",
            NOBODY.pw_dir,
        )
        assert owner(found) == f"{NOBODY.pw_uid}:{NOBODY.pw_gid}"
    found = find_identity(str(NOT_THERE), str(NOT_THERE + 1))
    assert found is not None
    assert (found.uid, found.gid, found.groups, found.name, found.home) == (
        NOT_THERE,
        NOT_THERE + 1,
        (NOT_THERE + 1,),
        "",
        "",
    )
    found = find_identity("", NOGROUP)
    assert found is not None
    assert (found.uid, found.gid) == (0, NOBODY.pw_gid)


@as_root
def test_the_groups_of_a_user_come_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getgrouplist", lambda name, gid: [gid, 33, 4] if name == "nobody" else [])
    found = find_identity("nobody", "")
    assert found is not None
    assert found.groups == (NOBODY.pw_gid, 33, 4)


# The way down.


@as_root
def test_every_right_is_given_up() -> None:
    out = child(
        """
stop = threading.Event()
thread = threading.Thread(target=stop.wait, daemon=True)
thread.start()
become(find_identity("nobody", ""))
out["ids"] = [os.getresuid(), os.getresgid(), os.getgroups()]
out["threads"] = threads_uids()
out["env"] = [os.environ[name] for name in ("HOME", "USER", "LOGNAME")]
out["back"] = [attempt(os.setuid, 0), attempt(os.seteuid, 0), attempt(os.setgid, 0), attempt(os.setgroups, [0]),
    attempt(os.setresuid, -1, 0, -1)]
out["shadow"] = attempt(open, "/etc/shadow")
stop.set()
"""
    )
    uid, gid = NOBODY.pw_uid, NOBODY.pw_gid
    assert out["ids"] == [[uid] * 3, [gid] * 3, [gid]]
    assert out["threads"] == [str(uid)]
    assert out["env"] == [NOBODY.pw_dir, "nobody", "nobody"]
    assert out["back"] == ["Operation not permitted"] * 5
    assert out["shadow"] == "Permission denied"


@as_root
def test_a_group_alone() -> None:
    out = child(
        f"""
become(find_identity("", {NOGROUP!r}))
out["ids"] = [os.getresuid(), os.getresgid(), os.getgroups()]
"""
    )
    assert out["ids"] == [[0] * 3, [NOBODY.pw_gid] * 3, [NOBODY.pw_gid]]


@as_root
def test_a_number_without_an_entry_keeps_its_environment() -> None:
    out = child(
        f"""
become(find_identity("{NOT_THERE}", "{NOT_THERE}"))
out["ids"] = [os.getuid(), os.getgid(), os.getgroups()]
out["home"] = os.environ["HOME"]
""",
        env={"HOME": "/given", "PATH": os.environ["PATH"]},
    )
    assert out == {"ids": [NOT_THERE, NOT_THERE, [NOT_THERE]], "home": "/given"}


@as_root
def test_who_is_not_root_is_told_so() -> None:
    out = child(
        """
become(find_identity("nobody", ""))
out["other"] = attempt(find_identity, "root", "")
out["group"] = attempt(find_identity, "", "root")
out["own"] = attempt(find_identity, "nobody", "")
"""
    )
    assert out["other"].startswith("user 'root': only root may become another; this process runs as user 65534 and")
    assert "systemd: User=" in out["other"]
    assert out["group"].startswith("group 'root': only root may become another")
    assert out["own"] == "done"


@as_root
def test_root_without_the_capabilities(tmp_path: Path) -> None:
    """As in a container that drops all of them."""
    out = child(
        """out["error"] = attempt(become, find_identity("nobody", ""))""",
        "setpriv",
        "--bounding-set=-setuid,-setgid",
        "--inh-caps=-all",
    )
    assert out["error"] == (
        "user nobody: Operation not permitted; the process lacks the capabilities CAP_SETUID and CAP_SETGID"
    )


@as_root
def test_a_way_back_is_not_accepted() -> None:
    """Capabilities that a change of user does not take away (prctl(2), PR_SET_KEEPCAPS and securebits)."""
    out = child(
        """out["error"] = attempt(become, find_identity("nobody", ""))""",
        "setpriv",
        "--securebits=+no_setuid_fixup",
    )
    assert out["error"].startswith("user nobody: the process could become root again, because it keeps the capability")


@as_root
def test_a_user_who_could_import_nothing() -> None:
    """Python in root's home: better told at the start than at the first import that comes late."""
    out = child(
        """
os.access = lambda path, mode: not path.endswith("os.py")
out["error"] = attempt(become, find_identity("nobody", ""))"""
    )
    assert re.fullmatch("user nobody: may not read .*/os.py; install Python and vivace where .*", out["error"])


# Files and umask.


@as_root
def test_files_are_given(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.touch()
    give(str(file), find_identity("nobody", ""))
    assert (file.stat().st_uid, file.stat().st_gid) == (NOBODY.pw_uid, NOBODY.pw_gid)
    give(str(tmp_path / "none"), find_identity("nobody", ""))
    give(str(file), None)
    give("", find_identity("nobody", ""))


@as_root
def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """Who may write to the folder of a log must not get another file by it."""
    target, link = tmp_path / "target", tmp_path / "link"
    target.touch()
    link.symlink_to(target)
    give(str(link), find_identity("nobody", ""))
    assert target.stat().st_uid == 0
    assert link.lstat().st_uid == NOBODY.pw_uid


@as_root
def test_a_file_that_cannot_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    def chown(*arguments: Any, **keywords: Any) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "chown", chown)
    with pytest.raises(SettingError, match="/log: cannot be given to user nobody: Operation not permitted"):
        give("/log", find_identity("nobody", ""))


@pytest.mark.parametrize(("mode", "expected"), [(0o027, 0o640), (0, 0o666), (UMASK_KEPT, 0o660)])
def test_umask(mode: int, expected: int, tmp_path: Path) -> None:
    before = os.umask(0o007)
    try:
        set_umask(mode)
        (tmp_path / "file").touch(0o666)
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == expected
