"""The slow requests of a whole server: what its workers tell of them (`connection.slow`), and of a worker that does not
answer or has ended what the shared page still says.
"""

from __future__ import annotations

from vivace.observe.asking import ask_places
from vivace.observe.layout import S_LEADER
from vivace.observe.snapshot import take
from vivace.observe.waits import wait_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vivace.observe.page import Page

    Row = dict[str, Any]

UNKNOWN: Row = dict.fromkeys(("request_id", "client", "gc_s"))
RUNNING_BLANK: Row = {"queued_s": None, "at": None, **UNKNOWN}
FINISHED_BLANK: Row = {"limit_s": None, "by": "slow_request", "lane": "", "gil_s": None, "ready_s": None, **UNKNOWN}


def slow_requests(page: Page, timeout_s: float, route: str = "") -> Row:
    """{"slow_s", "by_route", "sampled", "running": [request, the oldest first], "finished": [request, the last one
    first], "silent": [process]}, of all routes or of one. The rows are those of `SlowRequests.told` with "pid" besides,
    None if their worker has ended; "silent" are the workers that have not answered in time.
    """
    found: Row = {"slow_s": None, "by_route": False, "sampled": False, "running": [], "finished": [], "silent": []}
    snapshot = take(page)  # before they are asked: what it has of those who answer they tell as well
    answered = set()
    for pid, answer in ask_places(page, {"ask": "slow", "route": route}, timeout_s):
        if answer is None or "error" in answer:
            found["silent"].append(pid)
            continue
        answered.add(pid)
        found["slow_s"] = answer["slow_s"]
        found["by_route"] |= answer["by_route"]
        found["sampled"] |= answer["sampled"]
        for kind in ("running", "finished"):
            found[kind] += [{**row, "pid": pid} for row in answer[kind]]
    _add_what_the_page_says(found, page, snapshot, answered, route)
    found["running"].sort(key=lambda row: -float(row["age_s"]))
    found["finished"].sort(key=lambda row: -float(row["ended_s"]))
    return found


def _add_what_the_page_says(found: Row, page: Page, snapshot: Row, answered: set[int], route: str) -> None:
    told = {(row["ended_s"], row["route"]) for row in found["finished"]}
    silent = {worker["place"]: worker for worker in snapshot["workers"] if worker["pid"] not in answered}
    for row in snapshot["slow"]:
        if (row["ended_s"], row["route"]) not in told and route in ("", row["route"]):
            worker = silent.get(row["worker"])
            pid = worker["pid"] if worker is not None and row["ended_s"] > _began_s(snapshot, worker) else None
            found["finished"].append({**row, **FINISHED_BLANK, "states": {}, "tree": [], "pid": pid})
    for worker in silent.values():
        rows = worker["in_progress"]
        if worker["route"] and not any(row["thread"] and row["route"] == worker["route"] for row in rows):
            leader = page.section_words(worker["place"])[S_LEADER]
            age_s = worker["ticked_s"]  # or a little less
            held = {"request": worker["route"], "route": worker["route"], "age_s": age_s, "phase": "", "thread": leader}
            rows = [*rows, held]
        for row in rows:
            if route in ("", row["route"]):
                waits = wait_of(worker["pid"], row["thread"]).text if row["thread"] else ""
                more = {"states": {}, "tree": [], "pid": worker["pid"]}
                found["running"].append({**row, **RUNNING_BLANK, "waits": waits, **more})


def _began_s(snapshot: Row, worker: Row) -> float:
    return float(snapshot["time_s"]) - float(worker["age_s"])
