"""How a question to a running server is written down in its page's file: see `desk`, and `asking`.

It has a place: four words, a word for each worker with the descriptor of its answer, and the text.
"""

from __future__ import annotations

from time import monotonic_ns

from vivace.observe.layout import QUESTION_BYTES, SECTIONS_MAX
from vivace.procfs import alive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from vivace.observe.page import Page

ANSWER_NAME: Final = "vivace-answer"

Q_NUMBER, Q_PID, Q_UNTIL, Q_LENGTH = range(4)
"""Number, 0: the place is free; the asker's process; its deadline in nanoseconds of the monotonic clock; length of the
text."""
ANSWERS_AT: Final = 4
TEXT_AT: Final = (ANSWERS_AT + SECTIONS_MAX) * 8
TEXT_BYTES_MAX: Final = QUESTION_BYTES - TEXT_AT
UNABLE: Final = 1 << 32
"""In place of a descriptor: the worker could not make one."""
NOT_ASKED: Final = 1 << 33

GRACE_NS: Final = 10**9
"""So long after its deadline a question is over, whatever has become of its asker."""


class Place:
    """One question's part of the file."""

    def __init__(self, page: Page, place: int) -> None:
        self.words, self.text = page.question(place, TEXT_AT)

    @property
    def is_over(self) -> bool:
        """Whether nobody waits for answers any more."""
        words = self.words
        return not words[Q_NUMBER] or words[Q_UNTIL] + GRACE_NS < monotonic_ns() or not alive(words[Q_PID])
