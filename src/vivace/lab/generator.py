"""One process of a load: an epoll loop over connections that sends prepared requests and times the answers.

Run by `lab.crew` as `python -m vivace.lab.generator`. On stdin: a line of JSON (load, place, which process this is),
then, when this has said that it is ready, a line with the moment to begin (CLOCK_MONOTONIC, seconds). On stdout: lines
of JSON, one for each slice of time, and a last one about the loader itself.

The two loops are one. A plan (`lab.arrivals`) says when the next request is due; a link that is free takes it. In
closed loop it is always due. In open loop a link that becomes free after the due time takes it at once, and the
latency still counts from the due time: nothing is skipped because the server stood still.

Rules: `drive` is the path of every request that goes as it should, a function over primitives; all else is done by
`lab.sender`. Whole answers are remembered, so that the same answer again costs one look into a dict; each one that is
new is read strictly (`lab.answer`). What is due before the end is still sent, and waited for, up to the timeout.
"""

from __future__ import annotations

import json
import os
import sys
import time

from vivace.lab.link import IDLE, READING
from vivace.lab.plan import unpacked
from vivace.lab.sender import READ_BYTES, Sender


def drive(gen: Sender) -> None:
    """Runs the load. The loop below is the path of an answer that is known, on a connection that stays."""
    links, idle, plan = gen.links, gen.idle, gen.plan
    clock, blocked, open_loop = time.monotonic, gen.blocked, gen.open_loop
    record = gen.record
    statuses = record.statuses
    while not gen.done:
        now = clock()
        if now >= gen.tick_s:
            gen.on_tick(now)
        while idle and gen.due_s <= now:
            if open_loop:
                record.late.append(now - gen.due_s)
            gen.take(idle.pop(), now)
        for fd, event in gen.wait(now):
            link = links.get(fd)
            if link is None:
                continue  # closed in this turn
            shot = link.shot
            if link.state != READING or link.reader is not None or shot is None:
                gen.on_event(link, event, clock())
                continue
            try:
                data = link.recv(READ_BYTES)
            except blocked:
                continue
            except OSError:
                gen.fail(link, clock(), "reset")
                continue
            kind = shot.known.get(data)
            now = clock()
            if kind is None:
                gen.on_data(link, data, now)
                continue
            shot.times.latency.append(now - link.intended_s)
            if open_loop:
                shot.times.service.append(now - link.sent_s)
            record.received += len(data)
            statuses[kind] += 1
            if gen.due_s > now or shot.think_s:
                link.shot, link.state = None, IDLE
                gen.rest(link, shot, now)
                continue
            # The next one, on the same connection.
            shot = link.shot = gen.next_shot
            link.intended_s = gen.due_s if open_loop else now
            link.sent_s = now
            gen.due_s, gen.next_shot = next(plan)
            record.sent += 1
            try:
                sent = link.send(shot.data)
            except OSError:
                sent = 0  # not now, or never: the next attempt says which
            if sent != shot.size:
                gen.unsent(link, shot.data[sent:])


def main() -> int:
    """The process: see the top of this module."""
    job = json.loads(sys.stdin.readline())
    load, place = unpacked(job)
    try:
        with open("/proc/self/timerslack_ns", "w") as slack:
            slack.write("1")
    except OSError:
        pass  # sends are up to 50 us later, then
    try:
        gen = Sender(load, place, job["process"])
        gen.connect()
    except OSError as error:
        print(json.dumps({"failed": error.strerror or str(error)}), flush=True)
        return 1
    print(json.dumps({"ready": os.getpid()}), flush=True)
    begin = sys.stdin.readline()
    if not begin:
        return 1  # the crew is gone
    gen.begin(float(begin))
    drive(gen)
    gen.record.finish()
    return 0


if __name__ == "__main__":
    import gc

    gc.disable()  # nothing here makes cycles, and a collection would be a pause in everybody's latency
    sys.exit(main())
