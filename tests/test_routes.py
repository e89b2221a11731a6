"""schedule.routes: templates, and a table that nobody can make grow."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vivace.schedule import routes as rules
from vivace.schedule.policy import Policy
from vivace.schedule.route import POOL, Route
from vivace.schedule.routes import METHODS, RouteTable, template_of


def table() -> RouteTable:
    return RouteTable(Policy(tick_s=0.002, gil=True).new_route)


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/", "/"),
        ("", ""),
        ("*", "*"),
        ("/users/42", "/users/{}"),
        ("/users/42/", "/users/{}/"),
        ("/users/42/orders/7", "/users/{}/orders/{}"),
        ("/users/me", "/users/me"),
        ("/1/2/3", "/{}/{}/{}"),
        ("//1//", "//{}//"),
        ("/2024/11/22", "/{}/{}/{}"),
        ("/2024-11-22", "/{}"),
        ("/10.0.0.1", "/{}"),
        ("/v2/api2/oauth2callback", "/v2/api2/oauth2callback"),
        ("/hello-world", "/hello-world"),
        ("/feedback", "/feedback"),
        ("/d41d8cd98f00b204e9800998ecf8427e", "/{}"),
        ("/DEADBEEF/x", "/{}/x"),
        ("/deadbee", "/deadbee"),
        ("/x/8f14e45f-ceea-467f-a0e6-0a4d4c9b1e6e", "/x/{}"),
        ("/01ARZ3NDEKTSV4RRFFQ69G5FAV", "/{}"),
        ("/INV-2024001", "/{}"),
        ("/a-title-that-mentions-1984", "/{}"),
        ("/" + "x" * 39, "/" + "x" * 39),
        ("/" + "x" * 40, "/{}"),
        ("/static/app.3f2b9c1d.js", "/static/app.3f2b9c1d.js"),
        ("/\xe9t\xe9/5", "/\xe9t\xe9/{}"),
        ("/1\n", "/1\n"),
        ("/5/" + "y/" * 400, ("/{}/" + "y/" * 400)[: rules.TEMPLATE_CHARS_MAX + 1]),
    ],
)
def test_template(path, template):
    assert template_of(path) == template


@given(st.text(st.characters(max_codepoint=255), max_size=600))
def test_a_template_is_short_and_stays_what_it_is(path):
    """Invariant: bounded, never longer than three times its path, and its own template (so no chain of names)."""
    template = template_of(path)
    assert len(template) <= 3 * rules.TEMPLATE_CHARS_MAX
    assert template_of(template[: rules.TEMPLATE_CHARS_MAX]) == template[: rules.TEMPLATE_CHARS_MAX]


def test_the_same_template_is_the_same_route():
    routes = table()
    first = routes.find("GET", "/users/1")
    assert first.name == "GET /users/{}"
    assert routes.find("GET", "/users/1") is first
    assert routes.find("GET", "/users/2") is first
    assert routes.find("POST", "/users/1") is not first
    assert routes.find("GET", "/users/1/") is not first
    assert routes.find("GET", "/users") is not first


def test_unknown_methods_share_their_routes():
    routes = table()
    first = routes.find("PURGE", "/users/1")
    assert first.name == "* /users/{}"
    for number in range(100):
        assert routes.find(f"M{number}", "/users/7") is first
    assert routes.find("*", "/users/7") is first
    assert len(routes.templates) == 1


def test_long_paths_are_found_but_not_remembered():
    routes = table()
    path = "/a/" + "b" * 30 + "/" + "1/" * 2000
    assert routes.find("GET", path) is routes.find("GET", path)
    assert not any(routes._paths.values())


def test_paths_are_bounded_over_all_methods():
    routes = table()
    first = routes.find("GET", "/users/0")
    for number in range(3 * rules.PATHS_MAX):
        assert routes.find(METHODS[number % len(METHODS)], f"/users/{number}").name.endswith("/users/{}")
        assert sum(map(len, routes._paths.values())) <= rules.PATHS_MAX
    assert routes.find("GET", "/users/0") is first


def word(number: int) -> str:
    """A path of its own template."""
    return "/" + "/".join("abcdefghij"[int(digit)] for digit in str(number))


def test_junk_does_not_push_out_what_was_learned():
    routes = table()
    slow = [routes.find("GET", f"/slow{word(number)}") for number in range(100)]
    for route in slow:
        route.lane = POOL
    for number in range(5 * rules.TEMPLATES_MAX):
        routes.find("GET", word(number))
        assert len(routes.templates) <= rules.TEMPLATES_MAX
    assert [routes.find("GET", f"/slow{word(number)}") for number in range(100)] == slow
    assert routes.find("GET", "/new").name == "GET /new"


def test_when_all_are_slow_the_rest_share_one_route_for_each_method():
    made: list[Route] = []

    def slow_route(name: str) -> Route:
        made.append(Route(name, 0.002))
        made[-1].lane = POOL
        return made[-1]

    routes = RouteTable(slow_route)
    known = [routes.find("GET", word(number)) for number in range(rules.TEMPLATES_MAX)]
    others = {routes.find(method, word(number)).name for method in METHODS for number in range(2000, 3000)}
    assert others == {f"{method} *" for method in METHODS}
    assert len(made) == len(routes.templates) == rules.TEMPLATES_MAX + len(METHODS)
    assert [routes.find("GET", word(number)) for number in range(rules.TEMPLATES_MAX)] == known
    for route in known:  # they became quick: there is room again, once it is looked for
        route.lane = 0
    names = {routes.find("GET", word(number)).name for number in range(3000, 5000)}
    assert len(names) > rules.TEMPLATES_MAX // 2
    assert len(routes.templates) <= rules.TEMPLATES_MAX + len(METHODS)


paths = st.one_of(
    st.text(st.characters(max_codepoint=255), max_size=40),
    st.lists(st.sampled_from(["users", "42", "x", "", "deadbeef" * 4]), max_size=6).map("/".join),
    st.integers(0, 5000).map(word),
)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.one_of(st.sampled_from(METHODS), st.text(max_size=5)), paths), max_size=200))
def test_any_requests(requests):
    """Invariant: always a route, named by a known method and a template; asked again, the same; bounded."""
    routes = table()
    for method, path in requests:
        route = routes.find(method, path)
        shown = method if method in METHODS else rules.OTHER
        assert route.name == f"{shown} {template_of(path)}"
        assert routes.find(method, path) is route
    assert len(routes.templates) <= len({(method, path) for method, path in requests})


# Names that the application gives.


def named(table: RouteTable, path: str, name: str) -> tuple[list[tuple[Route, Route]], bool]:
    """A request for `path` finds out that its route is called `name`."""
    table.find("GET", path).rename(name)
    return table.apply_renames()


def test_routes_of_one_rule_become_one() -> None:
    table = RouteTable(Policy(tick_s=0.004, gil=True).new_route)
    first, second = table.find("GET", "/users/anna"), table.find("GET", "/users/bo")
    assert first is not second
    pairs, stale = named(table, "/users/anna", "GET /users/<name>")
    assert not stale
    [(old, rule)] = pairs
    assert (old, rule.name) == (first, "GET /users/<name>")
    named(table, "/users/bo", "GET /users/<name>")
    assert table.find("GET", "/users/anna") is table.find("GET", "/users/bo") is rule
    assert table.apply_renames() == ([], False)
    assert named(table, "/users/bo", "GET /users/<name>") == ([], False), "it is called that already"


def test_a_whole_template_takes_the_name() -> None:
    table = RouteTable(Policy(tick_s=0.004, gil=True).new_route)
    table.find("GET", "/users/7")
    table.find("GET", "/users/8")
    table.find("GET", "/other/8")
    [(_, rule)], _ = named(table, "/users/7", "GET /users/<int:id>")
    assert table.find("GET", "/users/8") is table.find("GET", "/users/99") is rule
    assert table.find("GET", "/other/8").name == "GET /other/{}"
    assert table.find("POST", "/users/8").name == "POST /users/{}"


def test_a_head_that_was_remembered_before_is_noticed() -> None:
    table = RouteTable(Policy(tick_s=0.004, gil=True).new_route)
    old = table.find("GET", "/users/7")
    named(table, "/users/7", "GET /users/<int:id>")
    old.rename("GET /users/<int:id>")
    assert table.apply_renames() == ([], True)


def test_a_template_of_two_rules_keeps_its_own_name() -> None:
    table = RouteTable(Policy(tick_s=0.004, gil=True).new_route)
    old = table.find("GET", "/x/7")
    named(table, "/x/7", "GET /x/<int:id>")
    pairs, stale = named(table, "/x/deadbeef01", "GET /x/<digest>")
    assert (pairs, stale) == ([], True)
    assert table.find("GET", "/x/7") is table.find("GET", "/x/deadbeef01") is old
    assert named(table, "/x/7", "GET /x/<int:id>") == ([], False), "it is not asked again"
    assert table.find("GET", "/x/7") is old


def test_names_do_not_make_the_table_grow() -> None:
    forgotten: list[Route] = []
    table = RouteTable(Policy(tick_s=0.004, gil=True).new_route)
    table.on_forget = forgotten.extend
    for number in range(5000):
        path = "/" + "".join("abcdefghij"[int(digit)] for digit in str(number))
        named(table, path, "GET /<word>")
    assert len(table.templates) <= 1000
    assert forgotten
    assert table.find("GET", path).name == "GET /<word>"
