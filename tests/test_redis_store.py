"""vivace.cache.redis_store with a real Redis: two stores are two machines. What it does when there is none."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from redis_server import RedisServer, needs_redis
from vivace.cache import redis_format, redis_link, redis_store
from vivace.cache.purges import Purge
from vivace.cache.redis_store import RedisStore
from vivace.errors import SettingError
from wire import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

pytest.importorskip("redis")
pytestmark = needs_redis

KEY = "GET https://example.org/a?b=c"


class Machine:
    """A store, what it was told and what it said."""

    def __init__(self, url: str, namespace: str = "test") -> None:
        self.purges: list[tuple[str, str, bool]] = []
        self.said: list[str] = []
        self.store = RedisStore(url, namespace, warn=self.said.append)
        self.store.on_purge = lambda purge: self.purges.append((purge.kind, purge.pattern, purge.soft))

    def start(self) -> Machine:
        self.store.start()
        assert self.store.wait_joined(5), self.said
        return self


@pytest.fixture(autouse=True)
def _sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that tests of what happens at times need not wait for it."""
    monkeypatch.setattr(redis_link, "TICK_S", 0.05)
    monkeypatch.setattr(redis_link, "PROBE_S_MIN", 0.02)


@pytest.fixture(scope="module")
def shared() -> Iterator[RedisServer]:
    """One that no test stops; each uses keys of its own."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """One that the test may kill."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def machines(request: pytest.FixtureRequest) -> Iterator[Callable[..., list[Machine]]]:
    """(server, count) -> so many machines, in a namespace that is the test's."""
    made: list[Machine] = []

    def make(server: RedisServer, count: int = 2) -> list[Machine]:
        new = [Machine(server.url, request.node.name).start() for _ in range(count)]
        made.extend(new)
        return new

    yield make
    for machine in made:
        machine.store.stop()


def raw(server: RedisServer) -> Any:
    import redis

    return redis.Redis(port=server.port)


# The level.


def test_what_one_machine_puts_the_other_gets(shared: RedisServer, machines: Any) -> None:
    a, b = machines(shared)
    packed = bytes(range(256)) * 100
    assert b.store.get(KEY) is None
    a.store.put(KEY, packed, 60)
    assert b.store.get(KEY) == packed == a.store.get(KEY)
    a.store.put("é \udcff " + "x" * 9000, b"", 60)
    assert b.store.get("é \udcff " + "x" * 9000) == b""
    b.store.remove(KEY)
    assert a.store.get(KEY) is None
    assert (b.store.hits, b.store.misses) == (2, 1)


def test_another_namespace_is_another_store(shared: RedisServer, machines: Any) -> None:
    (a,) = machines(shared, 1)
    a.store.put(KEY, b"mine", 60)
    other = Machine(shared.url, "other").start()
    assert other.store.get(KEY) is None
    assert other.store.purge("all")
    assert a.store.get(KEY) == b"mine"
    other.store.stop()


def test_it_expires(shared: RedisServer, machines: Any) -> None:
    a, b = machines(shared)
    a.store.put(KEY, b"packed", 0.05)
    a.store.put("gone at once", b"packed", 0)
    assert b.store.get("gone at once") is None
    assert 0 < raw(shared).pttl(a.store._name(b"e:", KEY)) <= 50
    until(lambda: b.store.get(KEY) is None)


def test_whatever_else_lies_there_is_a_miss(shared: RedisServer, machines: Any) -> None:
    (a,) = machines(shared, 1)
    a.store.put(KEY, b"packed " * 20, 60, ["tag"])
    name = a.store._name(b"e:", KEY)
    client = raw(shared)
    whole = client.get(name)
    for cut in range(len(whole)):
        client.set(name, whole[:cut])
        assert a.store.get(KEY) is None, cut
    for at in range(len(whole)):
        client.set(name, whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert a.store.get(KEY) is None, at
    client.set(name, whole + b"x")
    assert a.store.get(KEY) is None
    client.delete(name)
    client.lpush(name, "a list")
    assert a.store.get(KEY) is None
    client.delete(name)
    client.set(name, whole)
    assert a.store.get(KEY) == b"packed " * 20
    assert a.said == []


# Claims.


def test_one_of_many_may_make_it(shared: RedisServer, machines: Any) -> None:
    both = machines(shared)
    granted: list[bool] = []
    barrier = threading.Barrier(8)

    def ask(machine: Machine) -> None:
        barrier.wait()
        granted.append(machine.store.claim(KEY, 5))

    threads = [threading.Thread(target=ask, args=(both[number % 2],)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(granted) == [False] * 7 + [True]


def test_who_waits_is_told_at_once(shared: RedisServer, machines: Any) -> None:
    a, b = machines(shared)
    assert a.store.claim(KEY, 30)
    assert not b.store.claim(KEY, 30)
    found: list[tuple[bytes | None, float]] = []

    def wait() -> None:
        found.append((b.store.wait(KEY, 10), time.monotonic()))

    waiting = [threading.Thread(target=wait) for _ in range(3)]
    for thread in waiting:
        thread.start()
    until(lambda: len(b.store._link._channels.get(b.store._name(b"d:", KEY), ())) == 3)
    time.sleep(0.05)  # so that all of them do wait
    put_at = time.monotonic()
    a.store.put(KEY, b"packed", 60, release=KEY)
    for thread in waiting:
        thread.join()
    assert [packed for packed, _ in found] == [b"packed"] * 3
    assert max(at for _, at in found) - put_at < redis_store.POLL_S / 2, "they found it by looking, not by being told"
    assert b.store._link._channels == {}
    assert b.store.claim(KEY, 30), "what was put is claimed no longer"


def test_what_will_not_be_put_is_waited_for_no_longer(shared: RedisServer, machines: Any) -> None:
    a, b = machines(shared)
    assert a.store.claim(KEY, 30)
    release = threading.Timer(0.05, a.store.release, [KEY])
    release.start()
    begun = time.monotonic()
    assert b.store.wait(KEY, 10) is None
    assert time.monotonic() - begun < 2
    assert b.store.claim(KEY, 30)
    release.join()


def test_who_waits_gets_all_that_was_put_before_the_end_of_the_claim(shared: RedisServer, machines: Any) -> None:
    """What lies under the claimed key may only say where the rest lies (Vary)."""
    a, b = machines(shared)
    assert a.store.claim(KEY, 30)
    found: list[bytes | None] = []
    waiting = threading.Thread(target=lambda: found.extend((b.store.wait(KEY, 10), b.store.get("second"))))
    waiting.start()
    until(lambda: b.store._link._channels != {})
    a.store.put(KEY, b"record", 60)
    time.sleep(0.02)
    assert found == []
    a.store.put("second", b"entry", 60, release=KEY)
    waiting.join()
    assert found == [b"record", b"entry"]


def test_waiting_has_an_end(shared: RedisServer, machines: Any) -> None:
    a, b = machines(shared)
    assert a.store.claim(KEY, 30)
    assert b.store.wait(KEY, 0.02) is None
    assert b.store.wait("claimed by nobody", 10) is None


def test_the_claim_of_a_dead_machine_lapses(shared: RedisServer, machines: Any) -> None:
    a, b = machines(shared)
    assert a.store.claim(KEY, 0.5)
    assert not b.store.claim(KEY, 5)
    a.store.stop()
    assert b.store.wait(KEY, 10) is None, "nobody makes it any more"
    assert b.store.claim(KEY, 5)


def test_only_one_s_own_claim_is_taken_back(shared: RedisServer, machines: Any) -> None:
    a, b = machines(shared)
    assert a.store.claim(KEY, 0.02)
    until(lambda: b.store.claim(KEY, 30))
    a.store.put(KEY, b"late", 60, release=KEY)
    a.store.put(KEY, b"", 0, release=KEY)
    a.store.release(KEY)
    assert not a.store.claim(KEY, 30), "b's claim stands"


def test_claims_that_nobody_releases_are_forgotten(
    shared: RedisServer, machines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_store, "CLAIMS_MAX", 10)
    (a,) = machines(shared, 1)
    assert all(a.store.claim(str(number), 1) for number in range(30))
    assert len(a.store._claims) == 10


# Purges.


def test_a_purge_reaches_the_others(shared: RedisServer, machines: Any) -> None:
    a, b = machines(shared)
    a.store.put(KEY, b"by path", 60)
    a.store.put("tagged", b"by tag", 60, ["blue", "red"])
    a.store.put("kept", b"kept", 60, ["green"])
    assert b.store.purge("tag", "red", True)
    assert b.store.get("tagged") is None
    assert a.store.get("tagged") is None
    assert a.store.get(KEY) == b"by path"
    assert b.store.purge("path", "/a?b=c")
    assert a.store.get(KEY) is None
    assert a.store.get("kept") == b"kept"
    until(lambda: a.purges == [("tag", "red", True), ("path", "/a?b=c", False)])
    assert b.purges == []
    a.store.put("tagged", b"anew", 60, ["red"])
    assert b.store.get("tagged") == b"anew"


def test_what_was_begun_before_a_purge_is_older_than_it(shared: RedisServer, machines: Any) -> None:
    """Though it is put after: the application may have read what was changed then."""
    a, b = machines(shared)
    assert a.store.claim(KEY, 30)
    assert b.store.purge("path", "/a")
    until(lambda: a.purges != [])
    a.store.put(KEY, b"of before", 60, release=KEY)
    assert a.store.get(KEY) is None
    assert b.store.get(KEY) is None
    assert a.store.claim(KEY, 30)
    a.store.put(KEY, b"of after", 60, release=KEY)
    assert b.store.get(KEY) == b"of after"


def test_what_was_begun_is_said_by_who_puts_it(shared: RedisServer, machines: Any) -> None:
    a, b = machines(shared)
    began = a.store.position
    assert b.store.purge("path", "/a")
    until(lambda: a.store.position != began)
    a.store.put(KEY, b"of before", 60, since=began)
    assert b.store.get(KEY) is None
    a.store.put(KEY, b"of after", 60, since=a.store.position)
    assert b.store.get(KEY) == b"of after"


def test_who_may_not_block_has_the_listening_thread_tell(
    shared: RedisServer, machines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_link, "TICK_S", 30.0)
    a, b = machines(shared)
    begun = time.monotonic()
    a.store.purge("path", "/a", wait=False)
    until(lambda: b.purges == [("path", "/a", False)])
    assert time.monotonic() - begun < 15, "and not at the next tick"
    until(lambda: a.store.untold == 0)


def test_a_machine_that_has_missed_the_message_ignores_what_was_purged(
    shared: RedisServer, machines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = machines(shared)
    a.store.put(KEY, b"packed", 60)
    monkeypatch.setattr(b.store._link, "_on_message", lambda: None)  # nothing reaches it but answers
    assert a.store.purge("all")
    assert b.store.get(KEY) is None
    assert b.purges == [("all", "", False)]


def test_of_several_workers_one_is_heard(shared: RedisServer, machines: Any) -> None:
    a, b, c = machines(shared, 3)
    assert a.store.purge("path", "/x", once="machine:7")
    assert b.store.purge("path", "/x", once="machine:7")
    assert c.store.purge("path", "/y")
    until(lambda: [len(machine.purges) for machine in (a, b, c)] == [1, 2, 1])


def test_who_comes_later_knows_of_earlier_purges(shared: RedisServer, machines: Any) -> None:
    (a,) = machines(shared, 1)
    a.store.put(KEY, b"old", 60)
    assert a.store.purge("path", "/a")
    a.store.put("later", b"new", 60)
    (b,) = machines(shared, 1)
    assert b.store.get(KEY) is None
    assert b.store.get("later") == b"new"
    assert b.purges == []


def test_who_was_away_reads_on_in_the_log(shared: RedisServer, machines: Any) -> None:
    a, b = machines(shared)
    a.store.put(KEY, b"old", 60)
    a.store.put("kept", b"old", 60)
    cut_off(b)
    assert a.store.purge("path", "/a", True)
    assert b.store.wait_joined(5)
    assert b.purges == [("path", "/a", True)], "known before anybody may ask"
    assert b.store.get(KEY) is None
    assert b.store.get("kept") == b"old"


def cut_off(machine: Machine) -> None:
    """Its connections break, and it will try again soon."""
    machine.store._link.fail(OSError("cut off by the test"))
    assert machine.store.get(KEY) is None


def test_who_was_away_for_longer_than_the_log_is_ignores_everything(
    shared: RedisServer, machines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_store, "LOG_MAX", 5)
    a, b = machines(shared)
    a.store.put(KEY, b"old", 60)
    cut_off(b)
    for number in range(7):
        assert a.store.purge("path", f"/{number}")
    a.store.put("new", b"new", 60)
    assert b.store.wait_joined(5)
    assert ("all", "", False) in b.purges
    assert b.store.get(KEY) is None
    assert a.store.get(KEY) is None, "nor does anybody else know what the first two were"
    assert b.store.get("new") == b"new"


def test_what_is_foreign_in_the_log_purges_everything(shared: RedisServer, machines: Any) -> None:
    a, b = machines(shared)
    a.store.put(KEY, b"old", 60)
    client = raw(shared)
    epoch, _, number = client.get(a.store._at).partition(b":")
    client.xadd(a.store._log, {"purge": b"\xff nonsense"}, id=f"{int(number) + 1}-0")
    client.set(a.store._at, epoch + b":%d" % (int(number) + 1))
    assert b.store.get(KEY) is None
    until(lambda: b.purges == [("all", "", False)] == a.purges)


def test_a_copy_that_has_not_heard_of_it_all_is_believed_no_more(shared: RedisServer, machines: Any) -> None:
    """A failover, or a dump of some minutes ago: the last purges are lost, and repeated by those who made them."""
    a, b = machines(shared)
    a.store.put(KEY, b"old", 60)
    client = raw(shared)
    before = client.get(a.store._at), client.dump(a.store._log)
    assert a.store.purge("path", "/a")
    assert b.store.get(KEY) is None
    pipe = client.pipeline()
    pipe.set(a.store._at, before[0])
    pipe.delete(a.store._log)
    pipe.execute()
    assert b.store.get(KEY) is None
    until(lambda: (number := client.get(a.store._at)) and number.endswith(b":1") and number[:16] != before[0][:16])
    assert a.store.get(KEY) is None


def test_another_purge_of_the_same_number_is_noticed(shared: RedisServer, machines: Any) -> None:
    a, b = machines(shared)
    assert a.store.purge("path", "/a")
    b.store.get(KEY)
    client = raw(shared)
    epoch, _, number = client.get(a.store._at).partition(b":")
    client.delete(a.store._log)
    client.xadd(a.store._log, {"purge": redis_format.write_purge("x", 1, Purge("path", "/b", 0))}, id=number + b"-0")
    until(lambda: client.get(a.store._at)[:16] != epoch)
    until(lambda: b.store._view[0] == a.store._view[0] != epoch.decode())


# There is no store.


def test_it_is_killed_and_comes_back(server: RedisServer, machines: Any) -> None:
    """In the middle of traffic: nobody waits or fails, what was purged meanwhile is told, and one line says each."""
    a, b = machines(server)
    stop, slowest, found = threading.Event(), [0.0], [0]

    def traffic(machine: Machine) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            begun = time.monotonic()
            key = str(number % 50)
            if machine.store.get(key) is None:
                if machine.store.claim(key, 5):
                    machine.store.put(key, b"packed", 60, release=key)
            else:
                found[0] += 1
            slowest[0] = max(slowest[0], time.monotonic() - begun)
            time.sleep(0.001)

    threads = [threading.Thread(target=traffic, args=(machine,)) for machine in (a, b) for _ in range(2)]
    for thread in threads:
        thread.start()
    until(lambda: found[0] > 20)
    assert a.store.purge("path", "/told")
    until(lambda: b.purges == [("path", "/told", False)])
    server.kill()
    until(lambda: not a.store.up and not b.store.up)
    assert not a.store.purge("path", "/meanwhile")
    a.store.remove("removed meanwhile")
    assert a.store.untold == 2
    assert a.store.claim("anything", 5)
    server.start()
    assert a.store.wait_joined(10)
    assert b.store.wait_joined(10)
    until(lambda: a.store.untold == 0)
    before = found[0]
    until(lambda: found[0] > before + 20)
    stop.set()
    for thread in threads:
        thread.join()
    until(lambda: {("path", "/meanwhile", False), ("key", "removed meanwhile", False)} <= set(b.purges))
    assert b.purges.count(("path", "/told", False)) == 2, "repeated: the new one may not have known of it"
    assert ("all", "", False) not in b.purges
    assert slowest[0] < 1, "on a busy machine; the limit is 50 ms"
    for machine in (a, b):
        assert len(machine.said) == 2, machine.said
        assert "does not answer" in machine.said[0]
        assert machine.said[1].startswith("cache_store is back (")


def test_it_hangs(server: RedisServer, machines: Any) -> None:
    (a,) = machines(server, 1)
    a.store.put(KEY, b"packed", 60)
    server.pause()
    begun = time.monotonic()
    assert a.store.get(KEY) is None
    once_s = time.monotonic() - begun
    assert once_s >= redis_link.SOCKET_TIMEOUT_S
    begun = time.monotonic()
    for _ in range(1000):
        assert a.store.get(KEY) is None
        a.store.put("more", b"packed", 60)
    assert time.monotonic() - begun < 1, "only the first one waits"
    server.resume()
    assert a.store.wait_joined(10)
    assert a.store.get(KEY) == b"packed"
    assert len(a.said) == 2


def test_it_was_never_there(machines: Any) -> None:
    nowhere = Machine("redis://127.0.0.1:1/0")
    nowhere.store.start()
    until(lambda: nowhere.store.failures >= 3)
    assert len(nowhere.said) == 1
    assert nowhere.said[0].startswith("cache_store does not answer (127.0.0.1:1: ")
    assert nowhere.store.claim(KEY, 5)
    nowhere.store.put(KEY, b"packed", 5)
    assert nowhere.store.get(KEY) is None
    assert nowhere.store.wait(KEY, 5) is None
    assert not nowhere.store.purge("path", "/a")
    nowhere.store.stop()
    assert len(nowhere.said) == 2
    assert "was not told of 1 purges" in nowhere.said[1]


def test_purges_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_store, "LOG_MAX", 5)
    machine = Machine("redis://127.0.0.1:1/0")
    for number in range(6):
        assert not machine.store.purge("path", f"/{number}")
    assert [purge.kind for purge, _ in machine.store._queue] == ["all"]
    assert not machine.store.purge("path", "/" + "x" * 10_000)
    assert machine.store._queue[-1][0].kind == "all"


def test_it_says_little_when_it_comes_and_goes(
    shared: RedisServer, machines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (a,) = machines(shared, 1)
    for _ in range(3):
        cut_off(a)
        assert a.store.wait_joined(10)
    assert len(a.said) == 2, a.said


def test_what_it_refuses_is_said_once(server: RedisServer, machines: Any) -> None:
    (a,) = machines(server, 1)
    a.store.put(KEY, b"packed", 60)
    client = raw(server)
    client.config_set("maxmemory", "1")
    for number in range(3):
        a.store.put(str(number), b"packed", 60)
    assert len(a.said) == 1
    assert "refuses" in a.said[0]
    assert a.store.get(KEY) == b"packed", "it still answers"


def test_a_password_is_given_and_not_shown() -> None:
    with RedisServer("--requirepass", "s3cret-word") as server:
        machine = Machine(server.url.replace("//", "//:s3cret-word@")).start()
        machine.store.put(KEY, b"packed", 60)
        assert machine.store.get(KEY) == b"packed"
        machine.store.stop()
        wrong = Machine(server.url.replace("//", "//:wr0ng-word@"))
        wrong.store.start()
        until(lambda: wrong.said != [])
        wrong.store.stop()
        assert "wr0ng-word" not in wrong.said[0]


def test_a_unix_socket_and_valkey_s_scheme(tmp_path: Any) -> None:
    path = tmp_path / "socket"
    with RedisServer("--unixsocket", str(path)) as server:
        for url in (f"unix://{path}?db=0", server.url.replace("redis://", "valkey://")):
            machine = Machine(url).start()
            machine.store.put(KEY, url.encode(), 60)
            assert machine.store.get(KEY) == url.encode()
            machine.store.stop()


# Settings.


@pytest.mark.parametrize(
    "url", ["http://host/", "redis://host:port/0", "redis://host/?socket_timeout=soon", "redis://host/?no_such=1"]
)
def test_urls_that_cannot_be_used(url: str) -> None:
    with pytest.raises(SettingError, match=r"^cache_store: the URL cannot be used .*redis://HOST:PORT/NUMBER"):
        Machine(url)


def test_time_limits_are_taken_from_the_url() -> None:
    link = Machine("rediss://host:1/2?socket_timeout=0.3&socket_connect_timeout=0.2").store._link
    known = link._pool.connection_kwargs
    assert (known["socket_timeout"], known["socket_connect_timeout"], known["db"]) == (0.3, 0.2, 2)
    assert link.where == "host:1"


def test_without_the_client_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(SettingError, match=r"pip install 'vivace\[redis\]'"):
        Machine("redis://127.0.0.1/0")
