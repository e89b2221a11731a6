"""Opening listeners in tests."""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from vivace.errors import SettingError
from vivace.net.listen import close_listener, open_listener, parse_address

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from vivace.net.listen import Listener


@contextmanager
def opened(text: str, **options: Any) -> Iterator[Listener]:
    """A listener at `text` for the time of a `with` block."""
    listener = open_listener(parse_address(text), backlog=8, **options)
    try:
        yield listener
    finally:
        close_listener(listener)


def problem(text: str, **options: Any) -> str:
    """What is said of the address `text`, which cannot be had."""
    with pytest.raises(SettingError) as raised, opened(text, **options):
        pass
    assert len(raised.value.problems) == 1
    return raised.value.problems[0]


def answers(family: int, address: Any) -> bool:
    """Whether somebody accepts there."""
    with socket.socket(family) as client:
        client.settimeout(5)
        try:
            client.connect(address)
        except OSError:
            return False
        return True


def quiet_port() -> int:
    """A free port outside the range from which the system gives ports to everybody else meanwhile.

    Never the same one twice in a process: a program that was told of one may not have bound it yet. Each process
    starts elsewhere, and looks at 997 ports before it comes to a neighbour's.
    """
    for port in _PORTS:
        with socket.socket() as sock:
            try:
                sock.bind(("0.0.0.0", port))
            except OSError:
                continue
        return port
    raise AssertionError("no free port")


_PORTS = iter(range(20_000 + os.getpid() * 997 % 10_000, 32_000))
