"""Where the system has no more memory or threads to give: what it costs, and what the operator is told.

Descriptors and the disk are in `accepting` and `reading`, where alone they are needed.

Rule: what lacks costs the request that needed it. The server goes on, and serves again when there is some.
"""

from __future__ import annotations

from time import sleep

from vivace.connection.connection import BODY, CLOSED, HEAD, RUNNING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vivace.connection.connection import Connection
    from vivace.connection.ending import Ending
    from vivace.connection.serving import Serving

NO_MEMORY = (
    "out of memory: a request was refused or cut off. Raise the limit of the process or container, or lower threads, "
    "connections_max or body_memory"
)
PAUSE_S = 0.05
"""The loop rests for so long when a turn of it found no memory: others may give some back."""


def no_memory(server: Ending, conn: Connection) -> None:
    """The request on `conn` cannot go on: it is refused while it is being read, else cut off. Owner."""
    reading = conn.state == HEAD or (conn.state == BODY and conn.environ is not None)
    conn.buffer = b""
    conn.at = 0
    conn.environ = None
    server.reader.forget(conn)
    try:
        server.plan.warn(NO_MEMORY)
        if reading:
            server.refuse(conn, 503, "the server is out of memory; try again in a moment", "memory")
            return
    except MemoryError:
        pass
    server.close(conn, "memory")


def failed_turn(server: Serving, error: Exception) -> None:
    """A turn of the loop failed. Leader."""
    if not isinstance(error, MemoryError):
        server.plan.on_error(error)
        return
    try:
        # The request that the turn was about is lost: it was read, and the turn's frame is all that knows of it. If the
        # turn was already about something else, an idle connection closes early, which clients have to expect.
        trace = error.__traceback__
        conn = trace and trace.tb_next and trace.tb_next.tb_frame.f_locals.get("conn")
        if conn is not None and conn.state not in (RUNNING, CLOSED):
            no_memory(server, conn)
        server.plan.warn(NO_MEMORY)
    except MemoryError:
        pass
    sleep(PAUSE_S)


def starved(server: Serving, threads: int) -> None:
    """The system starts no thread beside the `threads` there are. Whoever wanted it."""
    server.plan.warn(
        f"the system starts no more threads; {threads} serve. Raise its limit (ulimit -u, pids.max of the container, "
        "memory), or lower threads"
    )
