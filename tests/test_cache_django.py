"""vivace.contrib.django_cache: what Django documents of every cache backend, beside Django's own in memory."""

from __future__ import annotations

import asyncio
import threading
import time
import warnings
from typing import TYPE_CHECKING

import pytest

from frameworks import django_site
from vivace.cache import application, cached
from vivace.cache.memory import Memory
from wire import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

pytest.importorskip("django")

OURS = "vivace.contrib.django_cache.Cache"
DJANGO = "django.core.cache.backends.locmem.LocMemCache"


def make_cache(backend: str = OURS, **params: Any) -> Any:
    """As CACHES would make it."""
    from django.utils.module_loading import import_string

    return import_string(backend)(params.pop("LOCATION", "test"), params)


@pytest.fixture(autouse=True)
def _own_memory() -> Iterator[None]:
    application.use(Memory(1 << 20, 1 << 18))
    yield
    application.use(Memory(1 << 20, 1 << 18))


@pytest.fixture(params=[OURS, DJANGO], ids=["vivace", "locmem"])
def cache(request: pytest.FixtureRequest) -> Any:
    made = make_cache(request.param)
    made.clear()
    return made


def test_values(cache: Any) -> None:
    assert cache.get("none") is None
    assert cache.get("none", "default") == "default"
    for value in ("text", 1, 1.5, None, True, b"bytes", [1, {"a": (2,)}], {"é"}):
        cache.set("k", value)
        assert cache.get("k", "default") == value
        assert cache.has_key("k")
        assert "k" in cache
    assert cache.delete("k") is True
    assert cache.delete("k") is False
    assert "k" not in cache
    cache.set("mutable", [1])
    cache.get("mutable").append(2)
    assert cache.get("mutable") == [1]


def test_add(cache: Any) -> None:
    assert cache.add("k", 1) is True
    assert cache.add("k", 2) is False
    assert cache.get("k") == 1


def test_many(cache: Any) -> None:
    assert cache.set_many({"a": 1, "b": None, "c": 3}) == []
    assert cache.get_many(["a", "b", "c", "d"]) == {"a": 1, "b": None, "c": 3}
    cache.delete_many(["a", "d"])
    assert cache.get_many(iter(["a", "b"])) == {"b": None}
    cache.clear()
    assert cache.get_many(["b", "c"]) == {}


def test_time_limits(cache: Any) -> None:
    cache.set("zero", 1, 0)
    cache.set("before", 1, -1)
    cache.set("ever", 1, None)
    cache.set("default", 1)
    assert cache.get_many(["zero", "before", "ever", "default"]) == {"ever": 1, "default": 1}
    cache.set("short", 1, 0.02)
    until(lambda: cache.get("short") is None)
    assert cache.add("short", 2)
    assert cache.touch("short", None) is True
    assert cache.touch("none") is False
    assert cache.touch("short", 0) is True
    assert cache.get("short") is None


def test_incr_and_decr(cache: Any) -> None:
    cache.set("n", 41)
    assert cache.incr("n") == 42
    assert cache.incr("n", 10) == 52
    assert cache.decr("n", 2) == 50
    assert cache.decr("n", -10) == 60
    for method in (cache.incr, cache.decr):
        with pytest.raises(ValueError, match="not found"):
            method("none")
    cache.set("text", "x")
    with pytest.raises(TypeError):
        cache.incr("text")
    cache.set("timed", 1, 0.05)
    cache.incr("timed")
    until(lambda: cache.get("timed") is None)


def test_versions(cache: Any) -> None:
    cache.set("k", 1)
    cache.set("k", 2, version=2)
    assert cache.get("k") == cache.get("k", version=1) == 1
    assert cache.get("k", version=2) == 2
    assert cache.incr_version("k", version=2) == 3
    assert (cache.get("k", version=2), cache.get("k", version=3)) == (None, 2)
    assert cache.decr_version("k", version=3) == 2
    assert cache.get("k", version=2) == 2
    with pytest.raises(ValueError, match="not found"):
        cache.incr_version("none")
    assert cache.get_many(["k"], version=2) == {"k": 2}
    assert cache.add("k", 3, version=2) is False
    assert cache.delete("k", version=2)
    assert cache.get("k") == 1


@pytest.mark.parametrize("backend", [OURS, DJANGO])
def test_parameters(backend: str) -> None:
    one = make_cache(backend, KEY_PREFIX="one", TIMEOUT=None, LOCATION="x")
    two = make_cache(backend, KEY_PREFIX="two", VERSION=2, LOCATION="x")
    custom = make_cache(backend, KEY_FUNCTION=lambda key, prefix, version: f"own-{key}", LOCATION="x")
    apart = make_cache(backend, KEY_PREFIX="one", LOCATION="y")
    one.set("k", 1)
    custom.set("k", 3)
    assert (one.get("k"), two.get("k"), custom.get("k"), apart.get("k")) == (1, None, 3, None)
    two.set("k", 2)
    assert two.get("k", version=2) == 2
    assert make_cache(backend, KEY_PREFIX="one", LOCATION="x").get("k") == 1, "one by location, as threads have them"
    expired = make_cache(backend, TIMEOUT=0)
    expired.set("k", 1)
    assert expired.get("k") is None
    expired.set("k", 1, 60)
    assert expired.get("k") == 1


def test_get_or_set(cache: Any) -> None:
    assert cache.get_or_set("k", 1) == 1
    assert cache.get_or_set("k", 2) == 1
    assert cache.get_or_set("made", lambda: [3], 60) == [3]
    assert cache.get_or_set("made", lambda: 1 // 0) == [3]
    assert cache.get_or_set("none", lambda: None) is None
    assert "none" in cache
    assert cache.get_or_set("k", lambda: 5, version=2) == 5
    with pytest.raises(TypeError):
        cache.get_or_set("k")


def test_keys_that_memcached_would_refuse_are_warned_of(cache: Any) -> None:
    from django.core.cache.backends.base import CacheKeyWarning

    for key in ("key with spaces", "x" * 251):
        with pytest.warns(CacheKeyWarning):
            cache.set(key, 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CacheKeyWarning)
            assert cache.get(key) == 1


def test_asynchronous_twins(cache: Any) -> None:
    async def use() -> None:
        await cache.aset("k", 1)
        assert await cache.aget("k") == 1
        assert await cache.aadd("k", 2) is False
        assert await cache.aincr("k") == 2
        assert await cache.aget_or_set("new", lambda: 3) == 3
        assert await cache.aget_many(["k", "new"]) == {"k": 2, "new": 3}
        assert await cache.ahas_key("k")
        assert await cache.atouch("k", 5)
        await cache.adelete_many(["k"])
        await cache.aclear()
        assert await cache.aget("new") is None

    asyncio.run(use())


# What is ours alone.


def test_of_threads_that_race_one_makes_it() -> None:
    """Django makes a backend for each thread: they are one all the same."""
    made: list[int] = []
    counted = make_cache()
    counted.set("n", 0)

    def make() -> list[int]:
        made.append(1)
        time.sleep(0.03)
        return [1]

    results: list[Any] = []

    def run() -> None:
        own = make_cache()
        results.append(own.get_or_set("k", make))
        for _ in range(100):
            own.incr("n")

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]
    assert results == [[1]] * 8
    assert counted.get("n") == 800


def test_what_is_too_large_is_told() -> None:
    ours = make_cache()
    assert ours.set_many({"large": b"x" * (1 << 19), "small": 1}) == ["large"]
    assert ours.get_many(["large", "small"]) == {"small": 1}


def test_scopes() -> None:
    from django.core.exceptions import ImproperlyConfigured

    with pytest.raises(ImproperlyConfigured, match=r"'x', OPTIONS: there is no scope 'planet'"):
        make_cache(LOCATION="x", OPTIONS={"SCOPE": "planet"})
    wide = make_cache(OPTIONS={"SCOPE": "machines"})
    wide.set("k", "plain")
    assert wide.get("k") == "plain"
    with pytest.raises(TypeError, match="pickle=True"):
        wide.set("k", [1])
    make_cache(OPTIONS={"SCOPE": "machines", "PICKLE": True}).set("k", [1])


def test_django_s_own_users_of_a_cache() -> None:
    """cache_page, a session and the template tag, through the setting."""
    from django.contrib.sessions.backends.cache import SessionStore
    from django.core.cache import caches
    from django.http import HttpRequest, HttpResponse
    from django.test import RequestFactory, override_settings
    from django.views.decorators.cache import cache_page

    class Urls:
        urlpatterns = ()

    django_site(Urls)
    calls: list[int] = []

    @cache_page(60)
    def view(request: HttpRequest) -> HttpResponse:
        calls.append(1)
        return HttpResponse(b"page %d" % len(calls))

    with override_settings(CACHES={"default": {"BACKEND": OURS}}, ALLOWED_HOSTS=["*"]):
        requests = RequestFactory()
        assert view(requests.get("/a")).content == view(requests.get("/a")).content == b"page 1"
        assert view(requests.get("/b")).content == b"page 2"
        session = SessionStore()
        session["user"] = {"id": 5}
        session.save()
        assert SessionStore(session.session_key)["user"] == {"id": 5}
        caches["default"].clear()
        assert view(requests.get("/a")).content == b"page 3"
        assert SessionStore(session.session_key).load() == {}


def test_it_leaves_what_others_keep() -> None:
    @cached(ttl=60)
    def value() -> list[int]:
        calls.append(1)
        return [1]

    calls: list[int] = []
    value()
    ours = make_cache()
    ours.set("k", 1)
    ours.clear()
    value()
    assert calls == [1]
