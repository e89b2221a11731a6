"""observe.keepers: containers that grew are found, and named from a module on; nothing of the application is called."""

from __future__ import annotations

import gc
import json  # noqa: F401 - of the standard library
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from vivace.observe import heap, keepers

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = '''
import collections, functools
SEEN = []
BY_KEY = {}
recent = collections.deque(maxlen=1000)
class Cart:
    seen = set()
    def __init__(self):
        self.items = []
cart = Cart()
nested = {"a": {1: []}}
@functools.lru_cache(maxsize=5000)
def price(number):
    return str(number)
def counter():
    kept = []
    def count(value):
        kept.append(value)
    return count
count = counter()
class Sly:
    """As a LocalProxy: whoever asks it for anything gets an error."""
    @property
    def __class__(self):
        raise RuntimeError("asked")
    @property
    def __dict__(self):
        raise RuntimeError("asked")
    def __len__(self):
        raise RuntimeError("asked")
    def __getattr__(self, name):
        raise RuntimeError("asked")
sly = Sly()
class Loud(dict):
    def __len__(self):
        raise RuntimeError("asked")
    def items(self):
        raise RuntimeError("asked")
    def values(self):
        raise RuntimeError("asked")
loud = Loud()
class Node:
    def __init__(self, before):
        self.before = before
last = None
'''


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A module, and looks that begin at no other one."""
    module = ModuleType("shop_of_keepers")
    module.__file__ = "/app/shop.py"
    sys.modules[module.__name__] = module
    exec(compile(SOURCE, module.__file__, "exec"), module.__dict__)
    monkeypatch.setattr(keepers, "_modules", lambda: [module])
    monkeypatch.setattr(keepers, "TOLD_MAX", 20)
    yield module
    del sys.modules[module.__name__]


def grown(shop: Any, change: Any, requests: int = 100) -> dict[str, dict[str, Any]]:
    """What grows when `change` is called so often, by its name."""
    before = keepers.Look().take().numbers()
    for each in range(requests):
        change(each)
    return {row["text"].removeprefix(shop.__name__): row for row in keepers.grown(before, keepers.Look().take(), 100)}


def test_containers_by_name(shop: Any) -> None:
    def change(each: int) -> None:
        shop.SEEN.append(b"x")
        shop.BY_KEY[str(each)] = b"x"
        shop.recent.append(each)
        shop.Cart.seen.add(each)
        shop.cart.items.append(each)
        shop.nested["a"][1].append(each)
        shop.count(each)
        shop.price(each)
        dict.update(shop.loud, {each: each})

    found = grown(shop, change)
    for name, kind, holds, bound in (
        (".SEEN", "list", "bytes", None),
        (".BY_KEY", "dict", "bytes", None),
        (".recent", "collections.deque", "int", 1000),
        (".Cart.seen", "set", "int", None),
        (".cart.items", "list", "int", None),
        (".nested['a'][1]", "list", "int", None),
        (".count.kept", "list", "int", None),
        (".price", "dict", "functools._lru_list_elem", 5000),
        (".loud", "shop_of_keepers.Loud", "int", None),
    ):
        told = found.pop(name)
        assert (told["type"], told["holds"], told["bound"]) == (kind, holds, bound)
        assert (told["grew"], told["length"], told["per_request"]) == (100, 100, 1.0)
        assert told["chain"][0] == shop.__name__
    assert not [name for name in found if name[:1] == "."]


def test_what_does_not_grow_is_not_told(shop: Any) -> None:
    shop.SEEN.extend(range(5000))
    assert not [name for name in grown(shop, lambda each: None) if name.startswith(".")]


def test_types_and_the_way_to_one(shop: Any) -> None:
    before = heap.types()
    for _ in range(200):
        shop.last = shop.Node(shop.last)
    gc.collect()  # so that they come in the order of their making
    rows = keepers.types_grown(before, heap.types(), keepers.Look().take(), 100)
    (row,) = [row for row in rows if row["type"].endswith(".Node")]
    assert (row["count"], row["per_request"]) == (200, 2.0)
    assert row["text"] == "shop_of_keepers.last"
    assert keepers._names([shop, vars(shop), *_chain(shop.last, 6)]) == [
        "shop_of_keepers",
        ".last",
        ".before",
        "... 5 times",
    ]


def _chain(node: Any, count: int) -> list[Any]:
    found = [node]
    while len(found) < count:
        found.append(found[-1].before)
    return found


def test_what_no_module_leads_to_is_sought_backwards(shop: Any) -> None:
    class Owner:
        def __init__(self) -> None:
            self.kept: list[object] = []

    owner = Owner()  # a local of this function alone
    before = keepers.Look().take().numbers()
    owner.kept.extend(object() for _ in range(60))
    before[id(owner.kept)] = (list, 0)
    (row,) = [row for row in keepers.grown(before, keepers.Look().take(), 60) if row["length"] == 60]
    assert row["text"].endswith("<locals>.Owner>.kept")


def test_the_application_gives_the_names() -> None:
    ours, theirs = sys.modules["vivace.observe.keepers"], sys.modules[__name__]
    found = keepers._modules()
    assert found.index(theirs) < found.index(sys.modules["json"]) < found.index(ours)


def test_a_look_is_bounded(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert keepers.Look().take().whole
    monkeypatch.setattr(keepers, "OBJECTS_MAX", 10)
    monkeypatch.setattr(keepers, "STEP", 5)
    look = keepers.Look().take()
    assert not look.whole
