"""A terminal that shows a screen and gives keys, and is put back as it was, whatever happens.

`with Terminal() as terminal`: the alternate screen, keys one by one (cbreak: Ctrl-C and Ctrl-Z are still signals). At
the end of the block, at SIGTERM, SIGHUP and while it is suspended, all is as before.

Rules: one at a time, in the main thread. Nothing but this module writes to the terminal meanwhile.
"""

from __future__ import annotations

import os
import select
import signal
import termios
import tty

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any, Self

    from vivace.cli.top_text import Line

# ECMA-48, and xterm's private modes: alternate screen, cursor hidden, no wrapping at the last column.
ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l"
LEAVE = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
HOME, REST_OF_LINE, REST_OF_SCREEN, NORMAL = "\x1b[H", "\x1b[K", "\x1b[J", "\x1b[0m"
STYLES = {"title": "\x1b[1m", "strong": "\x1b[1m", "bad": "\x1b[1;31m", "chosen": "\x1b[7m", "faint": "\x1b[2m"}
BARE = {"title": "\x1b[1m", "strong": "\x1b[1m", "bad": "\x1b[1m", "chosen": "\x1b[7m"}
"""Without colours (https://no-color.org)."""

KEYS = {
    b"\x1b[A": "up",
    b"\x1b[B": "down",
    b"\x1b[C": "right",
    b"\x1b[D": "left",
    b"\x1bOA": "up",
    b"\x1bOB": "down",
    b"\x1bOC": "right",
    b"\x1bOD": "left",
    b"\x1b": "esc",
    b"\r": "enter",
    b"\n": "enter",
    b"\x7f": "backspace",
    b"\x08": "backspace",
    b"\x04": "q",
}
ESCAPE_S = 0.05
"""What follows an ESC within this time belongs to it: 25 to 100 ms in vim, tmux and readline."""


class Ended(Exception):
    """The user or the system wants an end; the signal, 0 if the terminal has gone."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(number)


class Terminal:
    """stdin and stdout."""

    def __init__(self, *, colours: bool) -> None:
        self._styles = STYLES if colours else BARE
        self._in, self._out = 0, 1
        self._saved: list[Any] = []
        self._before: dict[int, Any] = {}
        self._reader, self._writer = -1, -1
        self._wakeup = -1
        self._ended = 0

    def __enter__(self) -> Self:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._wakeup = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number, handler in (
            (signal.SIGWINCH, self._on_change),
            (signal.SIGTSTP, self._on_suspend),
            (signal.SIGCONT, self._on_continue),
            (signal.SIGTERM, self._on_end),
            (signal.SIGHUP, self._on_end),
            (signal.SIGINT, self._on_end),
        ):
            self._before[number] = signal.signal(number, handler)
        try:
            self._take()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._give_back()
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._reader)
        os.close(self._writer)

    # Taking the terminal and giving it back.

    def _take(self) -> None:
        self._saved = termios.tcgetattr(self._in)
        tty.setcbreak(self._in, termios.TCSANOW)
        self._write(ENTER)

    def _give_back(self) -> None:
        if not self._saved:
            return
        saved, self._saved = self._saved, []
        try:
            self._write(LEAVE)
            termios.tcsetattr(self._in, termios.TCSADRAIN, saved)
        except (OSError, termios.error):
            pass  # it has gone

    def _write(self, text: str) -> None:
        data = text.encode("ascii", "replace")
        while data:
            data = data[os.write(self._out, data) :]

    # Signals. Each also ends the wait in `key`.

    def _on_change(self, number: int, frame: FrameType | None) -> None:
        pass

    def _on_end(self, number: int, frame: FrameType | None) -> None:
        self._ended = number

    def _on_suspend(self, number: int, frame: FrameType | None) -> None:
        """Ctrl-Z: the shell gets the terminal as it was, and the signal does what it does to everybody."""
        self._give_back()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTSTP,))
        os.kill(os.getpid(), signal.SIGTSTP)
        if not self._saved:  # nobody could continue it (an orphaned process group), so the system did not suspend it
            self._on_continue(number, frame)

    def _on_continue(self, number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTSTP, self._on_suspend)
        self._give_back()  # after a SIGSTOP, which nobody is told of
        self._take()

    # Output and input.

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines; 80 and 24 where the terminal does not know."""
        try:
            columns, rows = os.get_terminal_size(self._out)
        except OSError:
            return 80, 24
        return columns or 80, rows or 24

    def show(self, lines: list[Line]) -> None:
        """Draws a whole screen, in one piece. Raises Ended where the terminal has gone.

        A line is erased before it is written: after its last column the cursor still stands on it.
        """
        drawn = [
            f"{REST_OF_LINE}{self._styles[style]}{text}{NORMAL}" if style in self._styles else REST_OF_LINE + text
            for style, text in lines
        ]
        try:
            self._write(HOME + "\r\n".join(drawn) + REST_OF_SCREEN)
        except OSError:
            raise Ended(0) from None

    def key(self, timeout_s: float) -> str | None:
        """The next key, "" after `timeout_s`, None if the screen is to be drawn anew. Raises Ended."""
        if self._ended:
            raise Ended(self._ended)
        ready, _, _ = select.select((self._in, self._reader), (), (), max(0.0, timeout_s))
        if self._reader in ready:
            try:
                os.read(self._reader, 4096)
            except BlockingIOError:
                pass
            if self._ended:
                raise Ended(self._ended)
            return None
        return self._read_key() if ready else ""

    def _read_key(self) -> str:
        data = self._read_byte()
        while data.startswith(b"\x1b") and len(data) < 8 and select.select((self._in,), (), (), ESCAPE_S)[0]:
            data += self._read_byte()
            if len(data) > 2 and data[-1:] >= b"@":  # the last byte of a sequence (ECMA-48, 5.4)
                break
        return KEYS.get(data) or (data.decode("ascii") if data.isascii() and data.isalnum() else chr(data[0]))

    def _read_byte(self) -> bytes:
        try:
            data = os.read(self._in, 1)
        except OSError:
            data = b""
        if not data:
            raise Ended(0)
        return data
