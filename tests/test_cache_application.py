"""vivace.cache for applications: Store beside cachelib's own, and @cached with threads that race for one key."""

from __future__ import annotations

import datetime
import enum
import pickle
import threading
import time
from typing import TYPE_CHECKING

import pytest

from redis_server import RedisServer, needs_redis
from vivace.cache import Store, application, cache, cached, decorator, values
from vivace.cache.flights import Flight, Flights
from vivace.cache.memory import Memory
from wire import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any


@pytest.fixture(autouse=True)
def ground(monkeypatch: pytest.MonkeyPatch) -> application.Ground:
    """Levels of the test's own."""
    new = application.Ground()
    monkeypatch.setattr(application, "ground", new)
    monkeypatch.setattr(decorator, "ground", new)
    return new


class Clock:
    """time.time for the modules under test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000_000.0
        monkeypatch.setattr(application, "time", lambda: self.now)
        monkeypatch.setattr(decorator, "time", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def together(count: int, act: Callable[[int], object]) -> list[object]:
    """What `act(number)` returned or raised in so many threads that begin at once."""
    barrier = threading.Barrier(count)
    results: list[object] = [None] * count

    def run(number: int) -> None:
        barrier.wait()
        try:
            results[number] = act(number)
        except Exception as error:
            results[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


class Dict:
    """A level in a dict: the memory of a machine, as far as a worker sees it."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.claims: set[str] = set()
        self.full = False

    def get(self, key: str) -> bytes | None:
        return self.values.get(key)

    def put(self, key: str, packed: bytes, ttl_s: float) -> bool:
        assert ttl_s > 0
        if not self.full:
            self.values[key] = packed
        return not self.full

    def remove(self, key: str) -> None:
        self.values.pop(key, None)

    def claim(self, key: str, ttl_s: float) -> bool:
        if key in self.claims:
            return False
        self.claims.add(key)
        return True

    def release(self, key: str) -> None:
        self.claims.discard(key)


# Store, as cachelib has it.


def make_simple() -> Any:
    return pytest.importorskip("cachelib").SimpleCache()


@pytest.mark.parametrize("make", [Store, make_simple], ids=["vivace", "cachelib"])
def test_it_does_what_cachelib_documents(make: Callable[[], Any]) -> None:
    """The same for both: whoever has one can take the other."""
    store = make()
    assert store.get("k") is None
    assert store.set("k", {"a": [1]}) is True
    assert store.get("k") == {"a": [1]}
    assert store.has("k") is True
    assert store.add("k", 1) is False
    assert store.add("new", 1) is True
    assert store.get("new") == 1
    assert store.delete("k") is True
    assert store.delete("k") is False
    assert store.has("k") is False
    assert sorted(store.set_many({"a": 1, "b": 2})) == ["a", "b"]
    assert store.get_many("a", "none", "b") == [1, None, 2]
    assert store.get_dict("a", "none") == {"a": 1, "none": None}
    assert store.delete_many("a", "none") == ["a", "none"]
    assert store.get_many("a", "b") == [None, 2]
    assert store.inc("n") == 1
    assert store.inc("n", 5) == 6
    assert store.dec("n", 2) == 4
    assert store.dec("other") == -1
    assert store.get("n") == 4
    assert store.set("forever", 1, timeout=0) is True
    assert store.set("later", 1, datetime.timedelta(hours=1)) is True
    assert store.set("gone", 1, timeout=-1) is True
    assert (store.get("forever"), store.get("later"), store.get("gone")) == (1, 1, None)
    assert store.set("none", None) is True
    assert store.has("none") is True
    assert store.clear() is True
    assert store.get_many("b", "n", "forever") == [None, None, None]


def test_it_expires(clock: Clock) -> None:
    store = Store(default_timeout=10)
    store.set("default", 1)
    store.set("short", 1, 1)
    store.set("never", 1, 0)
    clock.now += 1
    assert store.get_many("default", "short", "never") == [1, None, 1]
    clock.now += 9
    assert store.get_many("default", "never") == [None, 1]
    clock.now += 5 * 365 * 86400
    assert store.get("never") == 1


def test_a_number_keeps_its_time(clock: Clock) -> None:
    store = Store()
    store.set("n", 1, 10)
    clock.now += 6
    assert store.inc("n") == 2
    assert store.touch("n", 3)
    clock.now += 3
    assert store.get("n") is None
    assert not store.touch("n")


def test_what_is_got_is_one_s_own() -> None:
    store = Store()
    given = {"list": [1]}
    store.set("k", given)
    given["list"].append(2)
    store.get("k")["list"].append(3)
    assert store.get("k") == {"list": [1]}


@pytest.mark.parametrize("value", [None, True, 0, -5, 1 << 100, 1.5, float("inf"), "é\udcff", "", b"\x00\xff", b""])
def test_plain_values_are_what_they_were(value: object) -> None:
    kept = values.keep(value, 1.0, 2.0, 3.0, ["x", "y"])
    assert not kept.pickled
    back = values.read(values.write(kept), unpickle=False)
    assert back is not None
    assert type(back.value) is type(value)
    assert (back.value, back.made, back.fresh_until, back.until, back.tags) == (value, 1.0, 3.0, 6.0, ("x", "y"))
    assert back.size >= 250


def test_foreign_bytes_are_nothing() -> None:
    whole = values.write(values.keep("text", 1.0, 2.0, 3.0, ["x"]))
    for cut in range(len(whole) - len("text")):
        assert values.read(whole[:cut], unpickle=True) is None
    assert values.read(b"\xff" * 100, unpickle=True) is None
    assert values.read(whole.replace(b"vva", b"vvb"), unpickle=True) is None
    number = values.write(values.keep(7, 1.0, 2.0, 3.0))
    assert values.read(number[:-1] + b"z", unpickle=True) is None


def test_what_was_pickled_elsewhere_is_unpickled_only_where_that_is_allowed() -> None:
    packed = values.write(values.keep([1], 1.0, 2.0, 3.0))
    assert values.read(packed, unpickle=False) is None
    kept = values.read(packed, unpickle=True)
    assert kept is not None
    assert kept.value == [1]


def test_what_cannot_be_pickled_is_said() -> None:
    with pytest.raises((pickle.PicklingError, TypeError, AttributeError)):
        Store().set("k", threading.Lock())
    with pytest.raises(ValueError, match="line break"):
        Store().set("k", 1, tags=["a\nb"])
    with pytest.raises(ValueError, match="no scope 'all'"):
        Store(scope="all")


def test_stores_meet_nobody_else(ground: application.Ground) -> None:
    memory = Memory(1 << 20, 1 << 18)
    application.use(memory)
    memory.put("GET http://host/k", "a response", 10)
    one, two = Store(namespace="one"), Store(namespace="two")
    one.set("k", 1)
    two.set("k", 2)
    cache.set("k", 3)
    assert (one.get("k"), two.get("k"), cache.get("k")) == (1, 2, 3)
    assert all(key.startswith("app:") for key, *_ in memory.items() if key != "GET http://host/k")
    one.clear()
    assert (one.get("k"), two.get("k"), cache.get("k")) == (None, 2, 3)
    assert memory.get("GET http://host/k") == "a response"


def test_memory_is_bounded(ground: application.Ground) -> None:
    application.use(Memory(1 << 18, 1 << 16))
    store = Store()
    assert store.set("k", b"small") is True
    assert store.set("k", b"x" * (1 << 17)) is False
    assert store.get("k") is None, "what was replaced is gone"
    for number in range(1000):
        store.set(str(number), "x" * 1000)
    assert ground.memory.bytes <= 1 << 18
    assert store.get("999") is not None


def test_tags() -> None:
    store = Store(namespace="tagged")
    store.set("a", 1, tags=["red"])
    store.set("b", 1, tags=["blue"])
    cache.set("c", 1, tags=["red", "green"])
    store.purge("red", "none")
    assert (store.get("a"), store.get("b"), cache.get("c")) == (None, 1, None)


def test_numbers_of_many_threads_add_up() -> None:
    store = Store()
    together(8, lambda number: [store.inc("n") for _ in range(200)])
    assert store.get("n") == 1600
    assert together(8, lambda number: store.add("once", number)).count(True) == 1


class OfAnotherVersion:
    """A class that is gone when it is unpickled."""

    def __reduce__(self) -> Any:
        return (_of_another_version, ())


def _of_another_version() -> None:
    raise AttributeError("renamed")


def test_what_can_no_longer_be_unpickled_is_not_there() -> None:
    store = Store()
    assert store.set("k", OfAnotherVersion())
    assert store.get("k") is None
    assert not store.has("k")


# @cached.


def test_a_call_is_computed_once() -> None:
    calls: list[object] = []

    @cached(ttl=60)
    def add(a: int, b: int = 2, *, c: int = 3) -> list[int]:
        """Adds."""
        calls.append((a, b, c))
        return [a + b + c]

    assert add(1) == add(a=1, c=3) == add(1, 2) == add(b=2, a=1) == [6]
    add(1).append(7)
    assert add(1) == [6]
    assert calls == [(1, 2, 3)]
    assert add(1.0) == [6.0]  # type: ignore[arg-type]
    assert add(True) == [6]
    assert len(calls) == 3
    assert (add.__name__, add.__doc__) == ("add", "Adds.")


def test_none_is_a_result_and_an_exception_is_none() -> None:
    calls: list[int] = []

    @cached
    def nothing() -> None:
        calls.append(1)

    @cached(ttl=60)
    def fails() -> None:
        calls.append(2)
        raise ValueError("no")

    nothing()
    nothing()
    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            fails()
    assert calls == [1, 2, 2]


def test_of_threads_that_race_exactly_one_computes() -> None:
    calls: list[int] = []

    @cached(ttl=60)
    def slow(number: int) -> dict[str, int]:
        calls.append(number)
        time.sleep(0.05)
        return {"number": number}

    results: Any = together(16, lambda number: slow(7))
    assert calls == [7]
    assert all(result == {"number": 7} for result in results)
    assert len({id(result) for result in results}) == 16, "each has its own"


def test_who_waits_hears_of_the_failure() -> None:
    calls: list[int] = []

    @cached(ttl=60)
    def fails() -> None:
        calls.append(1)
        time.sleep(0.05)
        raise ConnectionError("the database is away")

    results = together(8, lambda number: fails())
    assert all(type(result) is ConnectionError for result in results)
    assert len(calls) < 8


def test_who_waits_goes_on_where_the_maker_was_ended() -> None:
    """By what ends only its own request."""

    class Ended(BaseException):
        pass

    calls: list[int] = []

    @cached(ttl=60)
    def value() -> int:
        calls.append(1)
        if len(calls) == 1:
            time.sleep(0.05)
            raise Ended
        return 5

    def call(number: int) -> int | None:
        try:
            return value()
        except Ended:
            return None

    results = together(4, call)
    assert results.count(None) == 1
    assert results.count(5) == 3
    assert len(calls) == 2


def test_waiting_has_an_end() -> None:
    going = threading.Event()
    calls: list[int] = []

    @cached(ttl=60, wait_s=0.02)
    def slow() -> int:
        calls.append(1)
        if len(calls) == 1:
            assert going.wait(10)
        return len(calls)

    first = threading.Thread(target=slow)
    first.start()
    until(lambda: calls == [1])
    assert slow() == 2, "computed by who would not wait longer"
    going.set()
    first.join()


def test_a_function_that_calls_itself_does_not_wait_for_itself() -> None:
    @cached(ttl=60)
    def again(depth: int) -> int:
        return depth if depth > 2 else again_by_other_name(depth + 1)

    calls: list[int] = []

    @cached(ttl=60)
    def same() -> int:
        calls.append(1)
        return same() if len(calls) < 3 else 9

    again_by_other_name = again
    assert again(0) == 3
    assert same() == 9


def test_two_that_want_each_other_s_do_not_wait_for_ever() -> None:
    barrier = threading.Barrier(2)
    met: set[str] = set()

    def meet(name: str) -> None:
        if name not in met:
            met.add(name)
            barrier.wait()

    @cached(ttl=60)
    def left() -> int:
        meet("left")
        return right() if threading.current_thread().name == "left" else 1

    @cached(ttl=60)
    def right() -> int:
        meet("right")
        return left() if threading.current_thread().name == "right" else 1

    threads = [threading.Thread(target=left, name="left"), threading.Thread(target=right, name="right")]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - begun < decorator.WAIT_S / 2


def test_it_expires_and_stale_is_used_while_one_computes(clock: Clock) -> None:
    calls: list[float] = []
    going = threading.Event()

    @cached(ttl=10, stale=5)
    def value() -> int:
        calls.append(clock.now)
        if len(calls) == 2:
            assert going.wait(10)
        return len(calls)

    assert value() == 1
    clock.now += 9.9
    assert value() == 1
    clock.now += 1
    renewing = threading.Thread(target=value)
    renewing.start()
    until(lambda: len(calls) == 2)
    assert [value() for _ in range(3)] == [1, 1, 1], "the old one, at once"
    going.set()
    renewing.join()
    assert value() == 2
    clock.now += 15
    assert value() == 3
    assert len(calls) == 3


def test_a_failure_to_renew_is_told_and_the_old_one_stays(clock: Clock) -> None:
    failing: list[int] = []

    @cached(ttl=10, stale=5)
    def value() -> int:
        if failing:
            raise OSError("away")
        return 1

    assert value() == 1
    failing.append(1)
    clock.now += 11
    with pytest.raises(OSError, match="away"):
        value()
    failing.clear()
    assert value() == 1


def test_it_is_purged_by_call_by_function_and_by_tag() -> None:
    calls: list[object] = []

    @cached(ttl=60, tags=lambda shop, page=1: [f"shop-{shop}", "shops"])
    def page(shop: str, page: int = 1) -> None:
        calls.append((shop, page))

    def fill() -> list[object]:
        calls.clear()
        for shop in "ab":
            for number in (1, 2):
                page(shop, number)
        return list(calls)

    everything = [("a", 1), ("a", 2), ("b", 1), ("b", 2)]
    assert fill() == everything
    assert fill() == []
    page.purge("a")
    assert fill() == [("a", 1)]
    cache.purge("shop-b")
    assert fill() == [("b", 1), ("b", 2)]
    page.purge_all()
    assert fill() == everything
    cache.purge("shops")
    assert fill() == everything


@pytest.mark.parametrize("how", ["call", "tag"])
def test_what_was_begun_before_a_purge_is_not_kept(how: str) -> None:
    going = threading.Event()
    source = ["old"]

    @cached(ttl=60, tags=["news"])
    def value() -> str:
        read = source[0]
        if read == "old":
            assert going.wait(10)
        return read

    results: list[str] = []
    first = threading.Thread(target=lambda: results.append(value()))
    first.start()
    until(lambda: len(decorator.flights._flights) == 1)
    source[0] = "new"
    if how == "call":
        value.purge()
    else:
        cache.purge("news")
    second = threading.Thread(target=lambda: results.append(value()))
    second.start()
    going.set()
    first.join()
    second.join()
    assert sorted(results) == ["new", "old"]
    assert value() == "new"


class Colour(enum.Enum):
    RED = 1


def test_methods_say_what_tells_them_apart() -> None:
    class Page:
        calls = 0

        def __init__(self, pk: int) -> None:
            self.pk = pk

        @cached(ttl=60, key=lambda self, size=1: (self.pk, size))
        def draw(self, size: int = 1) -> int:
            Page.calls += 1
            return self.pk * size

        @cached(ttl=60)
        def unnamed(self) -> None: ...

        @classmethod
        @cached(ttl=60)
        def of_class(cls) -> int:
            Page.calls += 1
            return 4

    assert Page(2).draw(3) == Page(2).draw(3) == 6
    assert Page(3).draw(3) == 9
    assert Page.calls == 2
    Page(2).draw.purge(3)
    Page(2).draw(3)
    Page(3).draw(3)
    assert Page.calls == 3
    assert Page(2).draw.__name__ == "draw"
    assert Page.of_class() == Page.of_class() == 4
    assert Page.calls == 4
    with pytest.raises(TypeError, match=r"argument of type .*Page has no text .* give @cached\(key="):
        Page(1).unnamed()


@pytest.mark.parametrize(
    "argument",
    [
        *(1, True, 1.0, "1", b"1", None, (), [], {}, {1}, frozenset([1, 2]), (1,), [1], {"1": 1}, {"1": 2}),
        *(datetime.date(2020, 1, 1), datetime.datetime(2020, 1, 1), Colour.RED, int, "x" * 1000, "x" * 1001),
    ],
    ids=repr,
)
def test_arguments_that_differ_have_different_names(argument: object) -> None:
    @cached(ttl=60, key="named")
    def name_of(value: object) -> str:
        return repr(value)

    assert name_of(argument) == repr(argument)
    for other in (1, True, 1.0, "1", b"1", None, (1,), [1], {1}, "x" * 1002, "x" * 1000, Colour.RED):
        assert name_of(other) == repr(other)
    assert name_of(argument) == repr(argument)


@pytest.mark.parametrize("argument", [object(), datetime.datetime.now, [object()], lambda: 1])
def test_arguments_without_a_name(argument: object) -> None:
    @cached(ttl=60)
    def function(value: object) -> None: ...

    with pytest.raises(TypeError, match="has no text that says all of it"):
        function(argument)


def test_what_can_be_read_only_once_is_refused() -> None:
    def generator() -> Iterator[int]:
        yield 1

    async def coroutine() -> None: ...

    for function in (generator, coroutine):
        with pytest.raises(TypeError, match="can be used only once"):
            cached(ttl=60)(function)
    with pytest.raises(ValueError, match="ttl is 0"):
        cached(ttl=0)(len)
    with pytest.raises(ValueError, match="no scope"):
        cached(ttl=1, scope="everywhere")(len)


def test_a_flight_that_nobody_waits_for_leaves_nothing() -> None:
    flights = Flights()
    assert flights.share("name", lambda flight: 5, 1) == 5
    with pytest.raises(ZeroDivisionError):
        flights.share("name", lambda flight: 1 // 0, 1)
    assert flights._flights == {}
    assert flights._waiting == {}
    assert Flight(1).made is None


# Wider scopes.


@pytest.fixture
def machine(ground: application.Ground) -> tuple[Dict, list[str]]:
    """Memory of the machine, and the tags that were purged on it."""
    level = Dict()
    told: list[str] = []

    def purged(made_s: float, key: str, tags: Sequence[str]) -> bool:
        return any(tag in told for tag in tags)

    application.use(Memory(1 << 20, 1 << 18), shared=level, purge=told.append, purged=purged)
    return level, told


def test_what_one_worker_sets_the_others_get(machine: tuple[Dict, list[str]], ground: application.Ground) -> None:
    level, told = machine
    store = Store(scope="machine")
    assert store.set("k", {"any": "object"}, tags=["red"])
    assert store.inc("n") == 1
    assert ground.memory.count == 0, "what another worker sets would not be seen there"
    assert store.get("k") == {"any": "object"}
    level.full = True
    assert store.set("k", "too much") is False
    assert store.get("k") is None, "rather nothing than what was before"
    level.full = False
    assert store.set("k", 2)
    assert store.delete("k")
    assert not store.delete("k")
    store.set("k", 3)
    store.clear()
    assert told == ["app::"]
    assert store.get("k") is None


def test_what_one_worker_computes_the_others_get(machine: tuple[Dict, list[str]], ground: application.Ground) -> None:
    level, told = machine
    calls: list[int] = []

    @cached(ttl=60, scope="machine")
    def compute(number: int) -> list[int]:
        calls.append(number)
        return [number]

    assert compute(1) == [1]
    assert level.claims == set()
    ground.memory.clear()  # another worker has a memory of its own
    assert compute(1) == [1]
    assert ground.memory.count == 1
    assert compute(1) == [1]
    assert calls == [1]
    compute.purge(1)
    assert level.values == {}
    assert len(told) == 1, "workers that have it in their memory"
    assert compute(1) == [1]
    assert calls == [1, 1]


def test_while_one_worker_computes_the_others_wait(machine: tuple[Dict, list[str]]) -> None:
    level, _ = machine
    calls: list[int] = []

    @cached(ttl=60, scope="machine")
    def compute(number: int) -> int:
        calls.append(number)
        return number

    name = decorator.CALLS + compute._namer.name((1,), {})
    assert level.claim(name, 60)  # another worker
    results: list[int] = []
    waiting = threading.Thread(target=lambda: results.append(compute(1)))
    waiting.start()
    time.sleep(0.02)
    assert calls == []
    now = time.time()
    level.put(name, values.write(values.keep(5, now, 60, 0)), 60)
    waiting.join()
    assert results == [5]
    assert calls == []


def test_a_wider_scope_that_does_not_exist() -> None:
    store = Store(scope="machines")
    assert store.set("k", "plain")
    assert store.get("k") == "plain"
    with pytest.raises(TypeError, match=r"list would have to be pickled .* pickle=True"):
        store.set("k", [1])
    assert Store(scope="machines", pickle=True).set("k", [1])

    @cached(ttl=60, scope="machines")
    def compute() -> list[int]:
        return [1]

    with pytest.raises(TypeError, match="would have to be pickled"):
        compute()


@needs_redis
def test_between_machines() -> None:
    pytest.importorskip("redis")
    from vivace.cache.redis_store import RedisStore

    with RedisServer() as server:
        remote = RedisStore(server.url, warn=lambda message: None)
        remote.start()
        assert remote.wait_joined(5)

        def purge(tag: str) -> None:
            remote.purge("tag", tag)

        application.use(Memory(1 << 20, 1 << 18), remote=remote, purge=purge)
        store = Store(scope="machines", namespace="shop")
        assert store.set("k", "v", tags=["red"])
        assert store.get("k") == "v"
        store.purge("red")
        assert store.get("k") is None
        store.set("k", 1)
        store.clear()
        assert store.get("k") is None

        calls: list[int] = []

        @cached(ttl=60, scope="machines", pickle=True, tags=["part"])
        def part(number: int) -> list[int]:
            calls.append(number)
            return [number]

        assert part(1) == [1]
        application.ground.memory.clear()
        assert part(1) == [1]
        assert calls == [1]
        cache.purge("part")
        assert part(1) == [1]
        assert calls == [1, 1]
        name = decorator.CALLS + part._namer.name((1,), {})
        packed = remote.get(name)
        assert packed is not None
        assert values.read(packed, unpickle=False) is None
        remote.stop()


# Flask-Caching takes it as a backend.


def test_flask_caching() -> None:
    flask = pytest.importorskip("flask")
    flask_caching = pytest.importorskip("flask_caching")
    app = flask.Flask("cached")
    app.config["CACHE_TYPE"] = "vivace.contrib.flask_caching.backend"
    app.config["CACHE_DEFAULT_TIMEOUT"] = 30
    app.config["CACHE_OPTIONS"] = {"namespace": "flask"}
    extension = flask_caching.Cache(app)
    calls: list[str] = []

    @app.get("/page")
    @extension.cached(timeout=60)
    def page() -> str:
        calls.append("page")
        return f"page {len(calls)}"

    @extension.memoize(60)
    def memoized(a: int) -> int:
        calls.append("memoized")
        return a * 2

    client = app.test_client()
    assert client.get("/page").data == client.get("/page").data == b"page 1"
    with app.app_context():
        assert memoized(2) == memoized(2) == 4
        assert calls == ["page", "memoized"]
        extension.delete_memoized(memoized, 2)
        assert memoized(2) == 4
        assert len(calls) == 3
        assert extension.cache.default_timeout == 30
        extension.set("k", [1])
        assert extension.get("k") == [1]
        assert extension.delete("k")
        extension.clear()
    assert client.get("/page").data == b"page 4"
