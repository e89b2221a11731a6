"""THE table of what can be done about code that takes long: a row for each thing that it does there. Pure data."""

from __future__ import annotations

from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final


@dataclass(frozen=True, slots=True)
class Remedy:
    """One row.

    `parts`: (least, likely, most) of the time that the change does away with. `avoidable`: it is known to be done
    cheaper another way, so it is an illness wherever it takes a good part of the time. `once`: what a loop repeats is
    left once.
    """

    id: str
    title: str
    advice: str
    code: str = ""
    parts: tuple[float, float, float] = (0.5, 0.9, 1.0)
    avoidable: bool = True
    once: bool = False


_AWAY: Final = (0.8, 1.0, 1.0)
"""What is no longer done."""

REMEDIES: Final[dict[str, Remedy]] = {
    "import": Remedy(
        "import",
        "{route} imports modules while it serves: {time} a request",
        "Import at the top of the module, once, before the first request.",
        "import module          # at the top of the file, not in the function",
        _AWAY,
    ),
    "template": Remedy(
        "template",
        "{route} compiles a template for each request: {time}",
        "Compile the template once, and keep it. A Jinja environment and Django's cached loader do so if they live "
        "longer than the request.",
        "TEMPLATE = environment.get_template('page.html')    # once, at import\n"
        "TEMPLATE.render(...)                                # in the request",
        _AWAY,
    ),
    "regex compile": Remedy(
        "regex",
        "{route} compiles regular expressions while it serves: {time} a request",
        "Compile each pattern once, at import. re keeps 512 patterns; patterns that are made anew for each request, as "
        "with values in them, are none of these.",
        "PATTERN = re.compile(...)    # once, at import",
        _AWAY,
    ),
    "regex": Remedy(
        "regex",
        "{route} spends {time} a request in one regular expression",
        "A pattern with nested or overlapping repetitions, as (a+)+ or (a|a)*, tries exponentially many ways where it "
        "does not match. Write it so that each character can match in one way, use possessive quantifiers "
        "(a++, from Python 3.11), or a plain string method.",
        "re.compile(r'(?:\\w++\\s?+)*+$')    # possessive: nothing is tried again",
        (0.5, 0.95, 1.0),
    ),
    "logging": Remedy(
        "logging",
        "{route} spends {time} a request in logging",
        "Raise the level, take log calls out of loops, or hand records over to a thread "
        "(logging.handlers.QueueHandler). Whoever formats a message that is not written pays for it, too: "
        "logger.debug('%s', x), no f-string.",
        "logging.getLogger().setLevel(logging.INFO)",
        (0.6, 0.95, 1.0),
    ),
    "exceptions": Remedy(
        "exceptions",
        "{route} writes tracebacks out: {time} a request",
        "Do not format tracebacks for what is expected to fail: look before, or catch the exception and go on. Reading "
        "source lines for a traceback costs a hundred times the exception.",
        "value = table.get(key)    # rather than try: table[key] except KeyError: traceback.format_exc()",
        _AWAY,
    ),
    "serialisation": Remedy(
        "serialisation",
        "{route} spends {time} a request turning data into text or back",
        "Do it once and keep the text while the data stay the same; send less of it; or use a quicker library "
        "(orjson and msgspec are 3 to 10 times as fast as json).",
        "body = orjson.dumps(data)",
        (0.5, 0.8, 1.0),
    ),
    "encoding": Remedy(
        "serialisation",
        "{route} spends {time} a request turning data into text or back",
        "json's own encoder in C does it already. Do it once and keep the text while the data stay the same, send less "
        "of it, or use orjson or msgspec, which are 3 to 10 times as fast.",
        "body = orjson.dumps(data)",
        (0.5, 0.8, 0.9),
        avoidable=False,
    ),
    "copying": Remedy(
        "copying",
        "{route} copies objects: {time} a request",
        "Copy only what is changed (a shallow copy, or a new dict of what differs). copy.deepcopy walks through "
        "everything and takes a thousand times as long.",
        "mine = {**settings, 'changed': value}    # rather than copy.deepcopy(settings)",
        _AWAY,
    ),
    "database loop": Remedy(
        "queries",
        "{route} asks the database in a loop (N+1 queries): {time} a request",
        "Ask once for all of it: a join, WHERE id IN (...), in Django select_related() or prefetch_related(), in "
        "SQLAlchemy selectinload().",
        "books = Book.objects.select_related('author')    # rather than one query for each book.author",
        (0.7, 0.92, 1.0),
        once=True,
    ),
    "database": Remedy(
        "database",
        "{route} spends {time} a request in the database",
        "Look at the query's plan (EXPLAIN): an index that is missing, columns or rows that nobody reads. Ask for what "
        "seldom changes once, and keep it.",
        "CREATE INDEX ... ON table (column);",
        (0.3, 0.8, 1.0),
        avoidable=False,
    ),
    "http client loop": Remedy(
        "series",
        "{route} calls another service in a loop, one call after the other: {time} a request",
        "Make the calls at once, on threads, or ask for all of it in one call. Keep the connection open between calls.",
        "with ThreadPoolExecutor(8) as pool:\n    answers = list(pool.map(fetch, urls))",
        (0.5, 0.85, 1.0),
        once=True,
    ),
    "http client": Remedy(
        "upstream",
        "{route} waits {time} a request for another service",
        "Keep its answers for as long as they may be old, keep the connection open between calls, set a time limit, or "
        "do the call outside of the request. While a call waits, --threads lets others in.",
        "session = requests.Session()    # once: connections are kept",
        (0.2, 0.7, 1.0),
        avoidable=False,
    ),
    "pool": Remedy(
        "pool",
        "{route} waits for a connection of its pool: {time} a request",
        "Give the pool as many connections as there are threads that use it, or hold them for a shorter time.",
        "create_engine(url, pool_size=20)",
        (0.5, 0.9, 1.0),
    ),
    "series": Remedy(
        "series",
        "{route} waits for several things, one after the other",
        "What does not depend on each other can be waited for at once: the request then takes as long as the longest.",
        "with ThreadPoolExecutor(4) as pool:\n"
        "    first, second = pool.submit(ask_first), pool.submit(ask_second)\n"
        "    use(first.result(), second.result())",
    ),
    "sleep": Remedy(
        "sleep",
        "{route} sleeps {time} a request",
        "Nothing is gained by sleeping in a request. Where something has to be waited for, wait for that (an event, a "
        "condition, a descriptor); where it is tried again, do so outside of the request.",
        "event.wait(timeout)    # rather than: while not done: time.sleep(0.05)",
        _AWAY,
    ),
    "child process": Remedy(
        "child",
        "{route} runs another program: {time} a request",
        "Use a library that does it in the process, keep one child running and talk to it, or do it outside of the "
        "request.",
        "",
        (0.5, 0.9, 1.0),
    ),
    "disk": Remedy(
        "disk",
        "{route} waits {time} a request for the disk",
        "Keep what is read in memory; write without fsync, or later; for files that are sent, --static.",
        "",
        (0.5, 0.9, 1.0),
        avoidable=False,
    ),
    "wait": Remedy(
        "io",
        "{route} waits {time} a request for input or output",
        "Keep what was fetched for as long as it may be old, ask once instead of often, or at once instead of one "
        "after the other. While a call waits, --threads lets others in.",
        "",
        (0.2, 0.7, 1.0),
        avoidable=False,
    ),
    "wait loop": Remedy(
        "io",
        "{route} waits in a loop: {time} a request",
        "Ask once for all of it, or make the calls at once, on threads.",
        "with ThreadPoolExecutor(8) as pool:\n    answers = list(pool.map(ask, items))",
        (0.5, 0.85, 1.0),
        once=True,
    ),
    "hashing": Remedy(
        "cpu",
        "{route} computes hashes: {time} a request",
        "Hash what seldom changes once. A password needs its slow hash at a login only: keep a session afterwards.",
        "",
        (0.3, 0.9, 1.0),
        avoidable=False,
    ),
    "compression": Remedy(
        "cpu",
        "{route} compresses in the application: {time} a request",
        "Leave it to the server (--compress), which keeps compressed bodies in its cache, or use a lower level.",
        "compress = true    # vivace.toml",
        (0.3, 0.8, 1.0),
        avoidable=False,
    ),
    "template use": Remedy(
        "rendering",
        "{route} spends {time} a request rendering templates",
        "Render parts that seldom change once (a fragment cache); in loops of templates avoid calls of Python and "
        "filters that are repeated for each row.",
        "{% cache 60 sidebar %} ... {% endcache %}",
        (0.3, 0.7, 1.0),
        avoidable=False,
    ),
    "dates": Remedy(
        "cpu",
        "{route} reads dates: {time} a request",
        "datetime.fromisoformat reads ISO dates fifty times as fast as strptime.",
        "datetime.fromisoformat(text)    # rather than datetime.strptime(text, '%Y-%m-%dT%H:%M:%S')",
        (0.6, 0.9, 1.0),
    ),
    "cpu loop": Remedy(
        "cpu",
        "{route} computes {time} a request in {function}",
        "Look at the loop: a search through a list can be a set or a dict, what stays the same can be computed before "
        "it, text can be joined once instead of added to. If the result is used again, keep it (functools.lru_cache).",
        "wanted = set(wanted)    # `x in wanted` then takes the same time however many there are",
        avoidable=False,
    ),
    "cpu": Remedy(
        "cpu",
        "{route} computes {time} a request in {function}",
        "Compute it once and keep it (functools.lru_cache, a cache rule), or do less. More workers share it out "
        "between processors; more threads do not.",
        "@functools.lru_cache(maxsize=1024)",
        avoidable=False,
    ),
}
