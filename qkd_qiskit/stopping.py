"""Being told to stop: SIGTERM (a scheduler, `kill`) and SIGHUP (a closed terminal) end a command as Ctrl-C does."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

STOPPING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Stop:
    """Which signal has stopped the command, if any."""

    signal: int | None = None

    def exit_code(self, usual: int) -> int:
        """Return the shell's code for the signal, such as 143 for SIGTERM; the usual one for Ctrl-C."""
        return usual if self.signal is None else 128 + self.signal

    def _receive(self, number: int, _: FrameType | None) -> None:
        self.signal = number
        raise KeyboardInterrupt


@contextlib.contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Turn signals that end a process into `KeyboardInterrupt`; one that is ignored, as under `nohup`, stays so."""
    stop, before = Stop(), {}
    if threading.current_thread() is threading.main_thread():
        for number in STOPPING:
            if signal.getsignal(number) == signal.SIG_DFL:
                before[number] = signal.signal(number, stop._receive)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
