"""What keeps objects of this process alive: which containers have grown, and the way to them from a module.

Two looks and what lies between. The first notes the length of every container that can be reached, the second finds
those that have grown since, with a chain of names: `shop.Cart.seen`. What cannot be reached from a module is sought
backwards, by what refers to it.

Rules: a look takes OBJECTS_MAX objects and TIME_MAX_S, in steps between which others run; what lies further out is not
seen. Nothing of the application is called, not even an attribute that could be a property: what an object holds, the
collector's own `gc.get_referents` tells. Nothing is kept from one look to the next but numbers. Imported only when
somebody asks.

Threads: one at a time, any.
"""

from __future__ import annotations

import gc
import sys
import time
from collections import deque
from itertools import groupby, islice
from types import BuiltinFunctionType, CodeType, FrameType, FunctionType, GetSetDescriptorType, ModuleType

from vivace.observe import heap
from vivace.observe.collector import is_application
from vivace.observe.stacks import PACKAGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Iterator
    from typing import Any

OBJECTS_MAX = 400_000
TIME_MAX_S = 2.0
STEP = 1000
"""Objects between two pauses."""
PAUSE_S = 0.0005
LARGE = 2000
"""Of a container with more, only the length and some of its contents count."""
SIZED = (list, dict, set, deque)
"""These, and what is derived from them."""
GREW_MIN = 50
"""A container that grew by less is not told."""
TOLD_MAX = 5

ATOMS = frozenset(
    {str, bytes, int, float, complex, bool, type(None), bytearray, memoryview, range, slice, CodeType, type(Ellipsis)}
    | {BuiltinFunctionType, ModuleType, FrameType, GetSetDescriptorType}
)
"""What holds nothing, or nothing of interest."""

CLIMB = 8
"""So many objects wait to be sought backwards from, at most."""
CLIMBS_MAX = 16
SAMPLES = 200
"""So many objects of a type the one is chosen of that is nearest to a module."""
KEY_CHARS = 40
REPEATS = 4
"""A name that comes so often in a row, as in a linked list, is told once."""
BOUND_NAMES = ("maxsize", "_maxsize", "_Cache__maxsize", "max_size", "capacity")
"""What caches call their size: functools, cachetools, queue, others."""


class Look:
    """The containers that can be reached now, and how they were reached."""

    def __init__(self) -> None:
        self.lengths: dict[int, tuple[type, int]] = {}
        """By identity: type and length of each container."""
        self.parents: dict[int, Any] = {}
        """By identity of what was reached: the object by which it was. Keeps those alive: let go of it."""
        self.objects: dict[int, Any] = {}
        self.climbs = CLIMBS_MAX
        """So many searches backwards are left: each visits every object, and nothing else runs meanwhile."""
        self.whole = True
        """False: there was more than could be looked at."""

    def take(self) -> Look:
        """Looks. Takes up to TIME_MAX_S of processor time, in steps."""
        queue: deque[Any] = deque()
        for module in _modules():
            found = vars(module)
            self.parents[id(found)] = module
            self.objects[id(found)] = found
            queue.append(found)
        began, steps = time.thread_time(), 0
        parents, objects = self.parents, self.objects
        bases: dict[type, Any] = {**dict.fromkeys(ATOMS, ATOMS), **{kind: kind for kind in SIZED}}
        while queue:
            each = queue.popleft()
            for held in _held(each, bases.get(type(each))):
                kind, number = type(held), id(held)
                base = bases[kind] if kind in bases else bases.setdefault(kind, _base(kind))
                if base is not ATOMS and number not in parents and held is not objects:
                    parents[number] = each
                    objects[number] = held
                    if base is not None:
                        self.lengths[number] = kind, base.__len__(held)
                    queue.append(held)
            steps += 1
            if not steps % STEP:
                if len(objects) > OBJECTS_MAX or time.thread_time() - began > TIME_MAX_S:
                    self.whole = False
                    break
                time.sleep(PAUSE_S)
        self._look_beside()
        for number in list(self.lengths):  # anew, so that all are of about one moment
            kind = self.lengths[number][0]
            self.lengths[number] = kind, bases[kind].__len__(objects[number])
        return self

    def _look_beside(self) -> None:
        """Containers that the collector knows and no module leads to."""
        for each in heap.of(frozenset(SIZED)):
            if len(each) >= GREW_MIN and id(each) not in self.lengths:
                self.lengths[id(each)] = type(each), len(each)
                self.objects[id(each)] = each

    def numbers(self) -> dict[int, tuple[type, int]]:
        """What a later look is compared with; everything else is let go of."""
        self.parents, self.objects = {}, {}
        return self.lengths


def grown(before: dict[int, tuple[type, int]], look: Look, requests: int) -> list[dict[str, Any]]:
    """Containers of `look` that have grown since `before`, those first that grew most: see `explain.memory`."""
    ours = {id(before), id(look.lengths), id(look.parents), id(look.objects)}
    rows = []
    for number, (kind, length) in look.lengths.items():
        old = before.get(number)
        grew = length - (old[1] if old is not None and old[0] is kind else 0)
        if grew >= GREW_MIN and number not in ours and (old is not None or number in look.parents):
            rows.append((grew, number, length, old is not None))
    rows.sort(key=lambda row: (row[1] in look.parents, *row), reverse=True)  # those first that cost no search
    told: list[dict[str, Any]] = []
    for grew, number, length, known in rows[: TOLD_MAX * 3]:
        container = look.objects[number]
        path = _path(container, look, {id(rows)} | ours)
        if len(path) == 1 or (not known and not requests) or _is_ours(path):
            continue
        chain = _names(path)
        told.append(
            {
                "chain": chain,
                "text": "".join(chain),
                "type": _name(type(container)),
                "length": length,
                "grew": grew,
                "per_request": round(grew / requests, 3) if requests else 0.0,
                "holds": _contents(container),
                "bound": _bound(container, look),
            }
        )
    return sorted(told, key=lambda row: -row["grew"])[:TOLD_MAX]


def types_grown(before: Counter[type], after: Counter[type], look: Look, requests: int) -> list[dict[str, Any]]:
    """Types of which there are more than before, those first that grew most, and the way to one of the newest."""
    rows = [(count - before.get(kind, 0), _name(kind), kind) for kind, count in after.items()]
    rows = [row for row in rows if row[0] >= GREW_MIN and not _of_vivace(row[2])]
    rows = sorted(rows, key=lambda row: row[:2], reverse=True)[: TOLD_MAX * 2]
    told = []
    known = heap.of(frozenset(row[2] for row in rows))
    for grew, name, kind in rows:
        paths = _paths(kind, look, known)
        if paths and all(_is_ours(path) for path in paths):
            continue
        path: list[Any] = next((path for path in paths if not _is_ours(path)), [])
        told.append(
            {
                "type": name,
                "count": grew,
                "per_request": round(grew / requests, 3) if requests else 0.0,
                "text": "".join(_names(path)) if path else "",
            }
        )
    return told[:TOLD_MAX]


def _paths(kind: type, look: Look, known: list[Any]) -> list[list[Any]]:
    """The ways to some of the newest objects of that type; if no module leads to any of them, to one."""
    reached = (each for each in reversed(known) if type(each) is kind and id(each) in look.parents)
    newest = sorted(islice(reached, SAMPLES), key=lambda each: _depth(each, look))[:CLIMB]
    if not newest:
        newest = list(islice((each for each in reversed(known) if type(each) is kind), 1))
    ignored = {id(known), id(newest)}
    return [_path(each, look, ignored) for each in newest]


def _depth(thing: Any, look: Look) -> int:
    depth = 0
    while id(thing) in look.parents and depth < 4 * CLIMB:
        thing, depth = look.parents[id(thing)], depth + 1
    return depth


def _path(thing: Any, look: Look, ignored: set[int]) -> list[Any]:
    """The objects on the way to `thing`, the outermost first. Where no module leads there it begins with what was found
    last."""
    path = [thing]
    if id(thing) not in look.parents:
        path = _climb(thing, look, ignored | {id(path)})
    while id(path[0]) in look.parents and len(path) < 4 * CLIMB:
        path.insert(0, look.parents[id(path[0])])
    return path


def _names(path: list[Any]) -> list[str]:
    """A way as a person writes it: ["shop", ".Cart", ".seen"]."""
    parts = [_root(path[0])]
    parts.extend(_label(*links) for links in zip([None, *path], path, path[1:], strict=False))
    told: list[str] = []
    for part, run in groupby(part for part in parts if part):
        times = len(list(run))
        told.extend([part] * times if times < REPEATS else [part, f"... {times} times"])
    return told


def _climb(thing: Any, look: Look, ignored: set[int]) -> list[Any]:
    """The way to `thing` from something that `look` has reached, sought backwards; [thing] if there is none."""
    came: dict[int, tuple[Any, Any]] = {id(thing): (thing, None)}
    queue: deque[Any] = deque([thing])
    hidden = ignored | {id(came), id(queue), id(look.objects), id(look.lengths)}
    last = thing
    while queue and look.climbs > 0:
        look.climbs -= 1
        each = queue.popleft()
        found = heap.referrers(each)
        for holder in found:
            number = id(holder)
            if number in came or number in hidden:
                continue
            came[number] = (holder, each)
            last = holder
            if number in look.parents:
                return _way(came, holder)
            if len(queue) < CLIMB:
                queue.append(holder)
        del found
        time.sleep(PAUSE_S)
    return _way(came, last)


def _way(came: dict[int, tuple[Any, Any]], start: Any) -> list[Any]:
    way: list[Any] = []
    each = start
    while each is not None and len(way) < 4 * CLIMB:
        way.append(each)
        each = came[id(each)][1]
    return way


def _modules() -> list[ModuleType]:
    """Those of the application first, so that they give the names; vivace's own last."""
    found = [module for name, module in sys.modules.copy().items() if type(module) is ModuleType]

    def rank(module: ModuleType) -> int:
        file = vars(module).get("__file__")
        if not isinstance(file, str):
            return 2
        return 3 if file.startswith(PACKAGE) else 0 if is_application(file) else 1

    return sorted(found, key=rank)


def _held(each: Any, base: Any) -> Iterable[Any]:
    """What `each`, a container derived from `base` or none, refers to; of a large container, some of it."""
    kind = type(each)
    if kind is dict or kind is list:
        if len(each) > LARGE:
            return _some(each.values() if kind is dict else each)
        return list(each.values()) if kind is dict else list(each)
    if kind is FunctionType:  # its module is a root itself
        return (each.__closure__, each.__defaults__, each.__kwdefaults__, each.__dict__)
    return () if base is not None and base.__len__(each) > LARGE else gc.get_referents(each)


def _base(kind: type) -> Any:
    """What of SIZED a type is. Not `isinstance`, which asks the object, and a proxy would answer for another one."""
    return next((base for base in SIZED if issubclass(kind, base)), None)


def _some(values: Iterable[Any]) -> list[Any]:
    found: list[Any] = []
    try:
        for value in values:
            found.append(value)
            if len(found) == CLIMB:
                break
    except RuntimeError:  # it was changed meanwhile
        pass
    return found


def _label(owner: Any, holder: Any, held: Any) -> str:
    """How `holder` calls `held`; `owner` is what holds the holder. "": it is a part that nobody names."""
    kind = type(holder)
    if issubclass(kind, dict):
        is_namespace = issubclass(type(owner), (type, ModuleType)) or _namespace(owner) is holder
        for key, value in _pairs(holder):
            if value is held:
                return f".{key}" if is_namespace else f"[{_short(key)}]"
        return "[...]"
    if kind is tuple and type(owner) is FunctionType and owner.__closure__ and holder is owner.__closure__:
        cells = zip(owner.__code__.co_freevars, owner.__closure__, strict=True)
        return next((f".{name}" for name, cell in cells if cell is held), "")
    if kind is list or kind is tuple:
        return next((f"[{place}]" for place, value in enumerate(holder[:LARGE]) if value is held), "[...]")
    if issubclass(kind, (type, ModuleType)):
        return ""
    return next((f".{key}" for key, value in _pairs(_namespace(holder) or {}) if value is held), "")


def _pairs(found: Any) -> Iterator[tuple[Any, Any]]:
    try:
        yield from dict.items(found) if issubclass(type(found), dict) else found.items()
    except RuntimeError:
        return


def _namespace(each: Any) -> Any:
    """What `vars` would give, without asking the object; None: nothing."""
    if issubclass(type(each), type):
        return type.__dict__["__dict__"].__get__(each)
    for kind in type(each).__mro__:
        found = kind.__dict__.get("__dict__")
        if found is not None:
            return found.__get__(each) if type(found) is GetSetDescriptorType else None
    return None


def _root(each: Any) -> str:
    if type(each) is ModuleType:
        return each.__name__
    return f"<{_name(type(each))}>"


def _name(kind: type) -> str:
    module = kind.__module__
    return kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"


def _short(key: Any) -> str:
    """A key as a person reads it; nothing of the application is called for it."""
    if type(key) in (str, bytes, int, float, bool):
        text = repr(key)
        return text if len(text) <= KEY_CHARS else text[: KEY_CHARS - 3] + "..."
    return f"<{_name(type(key))}>"


def _contents(container: Any) -> str:
    """Of what type most of its contents are."""
    kinds: dict[str, int] = {}
    base = _base(type(container))
    for value in _some(dict.values(container) if base is dict else base.__iter__(container)):
        name = _name(type(value))
        kinds[name] = kinds.get(name, 0) + 1
    return max(kinds, key=lambda name: kinds[name]) if kinds else ""


def _is_ours(path: list[Any]) -> bool:
    """Whether the way leads through something of the server itself, or of what looks."""
    if type(path[0]) is ModuleType and path[0].__name__ in ("tracemalloc", "linecache", "gc"):
        return True
    return any(_of_vivace(type(each)) or (type(each) is ModuleType and _of_vivace(each)) for each in path)


def _of_vivace(each: Any) -> bool:
    name = each.__name__ if type(each) is ModuleType else each.__module__
    return isinstance(name, str) and name.startswith("vivace.") and not name.startswith("vivace.demo")


def _bound(container: Any, look: Look) -> int | None:
    """How much it may hold at most, as far as it or its owner says: deque, functools.lru_cache, cachetools; None: no
    bound is known."""
    if issubclass(type(container), deque):
        found = deque.maxlen.__get__(container)
        return found if type(found) is int else None
    owner = look.parents.get(id(container))
    for holder in (owner, look.parents.get(id(owner))):
        if type(holder).__name__ == "_lru_cache_wrapper":
            found = holder.cache_parameters()["maxsize"]  # type: ignore[union-attr]
            return found if type(found) is int else None
        namespace = None if type(holder) in ATOMS else _namespace(holder)
        for name in BOUND_NAMES:
            found = namespace.get(name) if isinstance(namespace, dict) else None
            if type(found) is int:
                return found
    return None
