"""The cache against what anybody can see of it: random requests, responses and times.

The model knows only what each response said and who had asked for it. Whatever the cache answers by itself must be a
response that was given before, at most as old as it allowed, and must belong to nobody else than to who asks now.

Exceptions allowed: none. A cache that never answered by itself would pass this much; so what is plainly reusable must
be reused as well.
"""

from __future__ import annotations

from random import Random
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from caches import TinyCache, environ_of
from vivace.cache import policy
from vivace.cache.rules import Rules, read_rule

START = 1_800_000_000.0

PATHS = ["/", "/a?x", "/a?y", "/a?x&utm_source=z", "/rule", "/own", "/off"]
RULES = Rules(
    map(read_rule, ["/rule 10s stale=5s", "/own 10s cookies authorization", "/off off"]), ("utm_*",), ("_ga",)
)

REQUESTS: list[dict[str, str]] = [
    *[{}, {}, {}, {"COOKIE": "session=alice"}, {"COOKIE": "session=bob"}, {"COOKIE": "_ga=1"}],
    *[{"AUTHORIZATION": "alice"}, {"AUTHORIZATION": "bob"}, {"X_API_KEY": "alice"}],
    *[{"ACCEPT_LANGUAGE": "de"}, {"ACCEPT_LANGUAGE": "en"}, {"COOKIE": "session=alice", "ACCEPT_LANGUAGE": "de"}],
    *[{"CACHE_CONTROL": "no-cache"}, {"CACHE_CONTROL": "max-age=3"}, {"CACHE_CONTROL": "no-store"}],
]

# What is said of freshness: (field, seconds or None, seconds stale, for everybody by name)
FRESH = [
    *[("", None, 0, False), ("max-age=10", 10, 0, False), ("max-age=0", 0, 0, False), ("public", None, 0, True)],
    *[("s-maxage=5, max-age=60", 5, 0, True), ("max-age=10, stale-while-revalidate=5", 10, 5, False)],
    *[("max-age=10, public", 10, 0, True), ("max-age=10, must-revalidate, stale-while-revalidate=5", 10, 0, True)],
    *[("private", -1, 0, False), ("max-age=10, private", -1, 0, False), ("no-store, max-age=10", -1, 0, False)],
    *[("no-cache, max-age=10", 0, 0, False), ("private; max-age=10", -1, 0, False)],
]
VARY = ["", "", "Accept-Language", "Cookie", "Cookie, Accept-Language", "*"]


class Made(NamedTuple):
    """A response of the application."""

    path: str
    fields: dict[str, str]
    said: tuple[str, int | None, int, bool]
    vary: str
    sets_cookie: bool


SCENES = 60  # of one seed


def scene(random: Random) -> list[Any]:
    """Steps of a few kinds: what can go wrong needs the same URL, who has asked before, and a time that fits."""

    def few(kinds: list[Any], count: int) -> list[Any]:
        return random.choices(kinds, k=random.randint(1, count))

    kinds = [
        few(["GET", "GET", "GET", "GET", "GET", "GET", "HEAD", "POST"], 4),
        few(PATHS, 2),
        few(REQUESTS, 3),
        few(FRESH, 2),
        few(VARY, 2),
        few([False, False, False, True], 2),  # Set-Cookie
        few([False, True], 2),  # the application finds its tag unchanged
        few([0.0, 0.5, 2.0, 4.9, 5.0, 9.0], 3),  # seconds until it
    ]
    return [[random.choice(some) for some in kinds] for _ in range(random.randint(2, 8))]


@settings(max_examples=60)
@given(st.integers(0, 2**32))
def test_whatever_is_reused_was_meant_to_be(seed: int) -> None:
    random = Random(seed)
    for _ in range(SCENES):
        steps = scene(random)
        try:
            play(steps)
        except AssertionError as error:
            error.add_note(f"{steps}")
            raise


def mattering(fields: dict[str, str], name: str) -> str | None:
    value = fields.get(name.upper().replace("-", "_"))
    return None if value == "_ga=1" else value


def check_is_for(made: Made, path: str, fields: dict[str, str]) -> None:
    """Whether what was made for one request may answer this one, whenever."""
    said, seconds, _, everybody = made.said
    assert made.path.partition("&utm")[0] == path.partition("&utm")[0]
    assert path != "/off"
    assert seconds != -1
    assert not made.sets_cookie
    assert "*" not in made.vary
    for name in filter(None, made.vary.split(", ")):
        assert mattering(made.fields, name) == mattering(fields, name)
    own = path == "/own"
    explicit = (bool(seconds) or (everybody and seconds is not None)) and "no-cache" not in said
    for name in ("COOKIE", "AUTHORIZATION", "X_API_KEY"):
        one, other = mattering(made.fields, name), mattering(fields, name)
        if (explicit and (name != "AUTHORIZATION" or everybody)) or not (one or other):
            continue
        assert own, (name, one, other)
        assert name != "X_API_KEY"
        assert one == other


def play(steps: list[Any]) -> None:
    cache, now = TinyCache(RULES), START
    made: dict[bytes, Made] = {}
    confirmed: dict[bytes, float] = {}  # when a response was made, or last found to be right
    sure: dict[str, tuple[bytes, float]] = {}  # by path: what a plain request must get, and until when
    varied: set[str] = set()
    for number, (method, path, fields, said, vary, sets_cookie, unchanged, pause_s) in enumerate(steps):
        now += pause_s
        environ, body = environ_of(path, method, **fields), b"%d" % number
        _, entry = cache.find(environ) if method != "POST" else ("", None)
        headers = [f"Cache-Control: {said[0]}", f"Vary: {vary}", f'ETag: "{number}"']
        headers += ["Set-Cookie: a=b"] if sets_cookie else []
        asked = entry is not None and unchanged and method != "POST"
        status = "304 Not Modified" if asked else "200 OK"
        answer = cache.request(environ, now, status, *(headers[3:] if asked else headers), body=body)
        site = path.partition("&utm")[0]
        varied |= {site} if vary else set()
        if method == "POST":
            sure.pop(site, None)
            continue
        if site in sure and not fields and method == "GET" and site not in varied and now < sure[site][1]:
            assert answer.body == sure[site][0]
            assert answer.verdict == policy.FRESH
        if answer.body == body:
            if not asked:
                made[body] = Made(path, fields, said, vary, sets_cookie)
                confirmed[body] = now
                if method == "GET" and "CACHE_CONTROL" not in fields:
                    sure.pop(site, None)
                    plain = not fields and not sets_cookie and said[0] in ("max-age=10", "max-age=10, public")
                    if plain and site != "/off" and answer.verdict != policy.PASS:
                        sure[site] = body, now + 10
                elif method == "GET":
                    sure.pop(site, None)
            continue
        # The cache has answered, by itself or after asking.
        before = made[answer.body]
        check_is_for(before, path, fields)
        if answer.verdict == policy.REVALIDATE:
            assert asked
            confirmed[answer.body] = now
            sure.pop(site, None)
            continue
        assert "CACHE_CONTROL" not in fields or fields["CACHE_CONTROL"] == "max-age=3"
        age_s = now - confirmed[answer.body]
        _, seconds, stale_s, _ = before.said
        by_rule = seconds is None and path in ("/rule", "/own")
        lifetime_s = (10 if by_rule else 0) if seconds is None else seconds
        if path == "/rule" and "s-maxage" not in before.said[0] and "must-revalidate" not in before.said[0]:
            stale_s = max(stale_s, 5)
        assert age_s < lifetime_s + (stale_s if answer.verdict == policy.STALE else 0)
        assert answer.field("Age") == str(int(age_s))
        if "CACHE_CONTROL" in fields and answer.verdict == policy.FRESH:
            assert age_s <= 3
