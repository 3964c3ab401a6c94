"""Ctrl-C and SIGTERM as a request: a run ends its step and saves before it ends."""

import os
import signal
import threading
import time
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Sooner, a second signal is the first one again, passed on by whoever has started this process.
ECHO_S = 1.0


class StoppedError(Exception):
    """A run was asked to stop, and has saved.

    Attributes:
        number: of the signal.
        step: steps done.
    """

    def __init__(self, number: int, step: int):
        super().__init__(f"signal {number} after step {step}")
        self.number, self.step = number, step


class StopSignals:
    """Hears both signals within `with`; a later second one is a KeyboardInterrupt at once.

    Attributes:
        number: of the signal that came; None while there was none.
    """

    def __init__(self, is_alone: bool = True, tells: bool = True):
        """Listen.

        Args:
            is_alone: whether a second signal is a person's. torchrun passes on what it gets, be it
                one signal or several, and kills what takes longer than its --shutdown-timeout.
            tells: whether to say on stderr what happens.
        """
        self._is_alone, self._tells = is_alone, tells
        self._before: dict[int, Any] = {}
        self._first_s = 0.0
        self.number: int | None = None

    def __enter__(self) -> "StopSignals":
        # Python hands signals to the main thread, and lets no other ask for them.
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._heard) for number in SIGNALS}
        return self

    def __exit__(self, *args: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        now_s = time.monotonic()
        if self.number is not None:
            if self._is_alone and now_s - self._first_s >= ECHO_S:
                raise KeyboardInterrupt
            return
        self.number, self._first_s = number, now_s
        if self._tells:
            # Not print: the signal may have come in the middle of one.
            again = "; again to end at once" if self._is_alone else ""
            os.write(2, f"\nending this step, then saving{again}\n".encode())
