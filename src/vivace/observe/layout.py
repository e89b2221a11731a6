"""What stands where in the shared page (`page`), and what each word means.

A header, which the supervisor writes, a section for each worker, which that worker writes, and places for questions,
which whoever asks writes. The words that count are
described, for whoever shows them, in `metrics`.
"""

from __future__ import annotations

import struct

MEMFD_NAME = "vivace"
MAGIC = int.from_bytes(b"vivace\0\4", "little")
"""The last byte is the layout's version."""

HEADER_BYTES = 4096
NOTE_AT = 2048
NOTE_BYTES = 1024

SECTIONS_MAX = 1024
WORDS_BYTES = 4096
SLOTS = 128
SLOT_BYTES = 256
ROUTES = 256
ROUTE_BYTES = 120
ROUTE_WORDS = 32
BUCKETS = 4096  # as in `histogram`
RECORDS = 64
RECORD_BYTES = 512
ERRORS = 16
ERROR_BYTES = 4096

# Where what stands in a section. What is never touched takes no memory, so the histograms can be wide.
SLOTS_AT = WORDS_BYTES
ROUTES_AT = SLOTS_AT + SLOTS * SLOT_BYTES
COUNTS_AT = ROUTES_AT + ROUTES * ROUTE_BYTES
RECORDS_AT = COUNTS_AT + ROUTES * ROUTE_WORDS * 8
ERRORS_AT = RECORDS_AT + RECORDS * RECORD_BYTES
HISTOGRAMS_AT = -(-(ERRORS_AT + ERRORS * ERROR_BYTES) // 4096) * 4096
SECTION_BYTES = HISTOGRAMS_AT + ROUTES * BUCKETS * 8

# Behind the sections: places for questions.
QUESTIONS_MAX = 16
QUESTION_BYTES = 1 << 16

SLOT = struct.Struct(f"=QHHIH{SLOT_BYTES - 18}s")
"""Start (monotonic nanoseconds), phase, route, thread, length of the text, text."""
SLOT_HEAD = struct.Struct("=QHHI")
SLOT_PHASE = struct.Struct("=H")  # at 8
SLOT_THREAD = struct.Struct("=I")  # at 12
RECORD = struct.Struct(f"=Q7QHHH{RECORD_BYTES - 70}s")
"""End (Unix time, nanoseconds), seven lengths of time in nanoseconds (TIMES), status, route, length, text."""
PARTS = ("queued", "body", "cpu", "blocked", "send")
"""What a response time consists of."""
TIMES = ("response", *PARTS, "application")
ERROR = struct.Struct(f"=QHH{ERROR_BYTES - 12}s")
"""Unix time in nanoseconds, route, length of the text, text."""

# The header's words.
H_MAGIC, H_PID, H_STARTED, H_TARGET, H_WANTED, H_GENERATION, H_STATE, H_SECTIONS, H_RELOADS, H_FAILED = range(10)
"""H_WANTED is written by `vivace ctl scale` (0: nothing wanted, n + 1: n workers)."""
H_SUPERVISED, H_ADMIN, H_DEATHS = range(10, 13)
"""H_SUPERVISED: 1 if the process of the header has workers, 0 if it is its own worker. H_ADMIN: the process that shows
all this to browsers. H_DEATHS: workers that ended by themselves."""
H_QUESTION, H_FILE = range(13, 15)
"""H_QUESTION: the number of the newest question (`desk`). H_FILE: the descriptor of the page in the process of the
header, and in its workers."""

# A section's words.
S_PID, S_GENERATION, S_STATE, S_STARTED, S_NOW, S_TURNS, S_SEEN = range(7)
S_CONNECTIONS, S_BUSY, S_QUEUED, S_COMING = range(7, 11)
S_THREADS, S_THREADS_MAX, S_TICKED, S_MEASURES, S_LEADER = range(11, 16)
"""S_NOW: the route that the leader runs or ran last in this turn of its loop; 0: it waits for something to do.
S_SEEN: requests, about. S_COMING: connections that siblings have passed on and this worker has not fetched yet.
S_BUSY: threads in the application, or on their way to it, away from the loop. S_STARTED, S_TICKED (when these words
were written) and slots' starts in nanoseconds of the system's monotonic clock. S_MEASURES: 1 if it counts the rest.
S_LEADER: the system's number of the thread that leads the loop."""
S_KEPT, S_KEPT_BYTES, S_KEPT_BYTES_MAX = range(16, 19)
"""Responses that its cache keeps, and the memory that those take and may take; 0: it has none."""
S_BELL = 19
"""1 more than the descriptor of the pipe that wakes its `desk`; 0: it has none."""
STATE_WORDS = 20
"""So many describe the worker. All words after them count, and go on where the last worker in this place ended."""
W_REFUSED_4XX, W_REFUSED_5XX, W_OVERTAKES, W_GIL_LOOKS, W_GIL_LATE_NS, W_LAG_LOOKS, W_LAG_NS = range(20, 27)
W_LOST = 27
"""Connections that ended with their worker, which had no time to count them."""
W_COLLECTIONS = 28
W_COLLECTING_NS = 31
"""Three words each, one for each generation."""
W_CACHE = 34
"""From here on a word for each of CACHE_COUNTS, in its order."""
W_ADAPTIVE = 56
"""From here on a word for each of ADAPTIVE_COUNTS, in its order."""
W_CLOSED = 64
"""From here on a word a reason of `reasons`, in its order."""

ADAPTED_AT, ADAPTED_BYTES = 448 * 8, 256
"""What an adaptive server decided last, in UTF-8."""
S_ADAPTIVE, S_SWITCH_NS, S_WAIT_LIMIT_NS = range(480, 483)
"""These describe the worker, as those below STATE_WORDS do. S_ADAPTIVE: 1 if its settings follow what is measured.
S_SWITCH_NS: its switch interval. S_WAIT_LIMIT_NS: the longest wait that a request is let in with; 0: any."""
ADAPTED_END = 512 * 8

ADAPTIVE_COUNTS = ("tried", "kept", "undone")
"""Changes that were put on trial, that paid and were kept, that did not and were taken back."""

CACHE_RESULTS = ("hits", "stale", "missed", "bypassed", "unavailable")
"""Each request that a response cache has looked at is counted as one of these: answered from what was fresh, from what
was stale while it was renewed, for the application (though what another machine keeps, or what is stale, may have
stood in for it), not for a cache, answered 504 because it wanted what is kept or nothing. What the server answers
itself, such as files, is none of the cache's business."""
CACHE_COUNTS = (
    *CACHE_RESULTS,
    "known",
    "not_modified",
    "collapsed",
    "revalidated",
    "stored",
    "unstored",
    "shared",
    "remote",
    "refreshed",
    "invalidated",
    "evicted",
)
"""The others, beside those. Of the hits: given to requests known by their bytes. Of hits and stale: answers of 304.
Times that a request waited for another one's response, and was then counted as what became of it. Responses of the
application: 304 that found what was kept right; kept; not kept. Entries found in what the workers share, and in what
machines share. Requests made to renew what was stale. Entries that a request has made invalid, and that had to make
room."""

# A route's words, in `Section.counts`.
R_COUNT, R_SUM_NS, R_QUEUED_NS, R_BODY_NS, R_CPU_NS, R_BLOCKED_NS, R_SEND_NS = range(7)
R_BYTES_IN, R_BYTES_OUT, R_1XX, R_2XX, R_3XX, R_4XX, R_5XX, R_GONE = range(7, 15)
R_INLINE, R_POOL, R_HEAVY, R_LANE, R_MAX_NS, R_LAST_NS, R_LOW, R_HIGH = range(15, 23)
"""R_LANE: the present one. R_LAST_NS: Unix time of the last request. R_LOW, R_HIGH: all its buckets that are not empty
lie in range(low, high)."""
LANES = ("inline", "pool", "heavy")
"""As R_LANE counts them; R_INLINE and the words after it have the requests of each."""

STATES = ("", "starting", "serving", "reloading", "stopping", "draining")
STARTING, SERVING, RELOADING, STOPPING, DRAINING = range(1, 6)

PHASES = ("", "queued", "body", "application", "sending")
QUEUED, BODY, APPLICATION, SENDING = range(1, 5)
"""Of a request in a slot."""

LAG = 0
"""The histogram of no route: how long what was ready waited for the loop."""
OTHERS, NOT_FOUND = ROUTES - 1, ROUTES - 2
"""Routes that have no number of their own: there are too many, or they have only ever been answered 404."""
OTHERS_NAME, NOT_FOUND_NAME = "(others)", "(not found)"
