"""SIGINT and SIGTERM ask a run to stop after the shard in hand; a second one stops it at once."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Set by the first signal. reason: its name, or None while nothing asked to stop."""

    def __init__(self) -> None:
        self.reason: str | None = None

    def handle(self, number: int, frame: FrameType | None) -> None:
        if self.reason is not None:
            raise KeyboardInterrupt
        self.reason = signal.Signals(number).name
        # os.write: a handler may interrupt a print, and printing from it would then fail.
        os.write(2, f"\n{self.reason}: finishing what is in hand; once more stops at once\n".encode())


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Catches the signals while the block runs, in the main thread only (no other may), and restores what was there.

    Within another such block it is that block's request: who runs several things learns that one of them was to stop.
    """
    outer = getattr(signal.getsignal(SIGNALS[0]), "__self__", None)
    request = outer if isinstance(outer, StopRequest) else StopRequest()
    if request is outer or threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request.handle) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
