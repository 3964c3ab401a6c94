"""What of a recording yields no frame, listed by reason and time."""

from collections.abc import Iterable
from dataclasses import dataclass

from vla_ros.core.resample import NS_PER_S


@dataclass(frozen=True)
class Drop:
    """Ticks or messages of one reason that yield no frame, between two stamps [ns]."""

    reason: str
    count: int
    first_ns: int
    last_ns: int


class DropList:
    """Ticks and messages that yield no frame, as runs of one reason."""

    def __init__(self, rate_hz: float, runs: Iterable[Drop] = ()):
        self._joined_ns = int(1.5 * NS_PER_S / rate_hz)
        self._runs: list[Drop] = list(runs)
        self._last: dict[str, int] = {}

    def add(self, reason: str, first_ns: int, last_ns: int | None = None, count: int = 1) -> None:
        """Note `count` ticks from `first_ns` to `last_ns`; consecutive ones become one run."""
        last_ns = first_ns if last_ns is None else last_ns
        at = self._last.get(reason)
        if at is not None and 0 <= first_ns - self._runs[at].last_ns <= self._joined_ns:
            run = self._runs[at]
            self._runs[at] = Drop(reason, run.count + count, run.first_ns, last_ns)
            return
        self._last[reason] = len(self._runs)
        self._runs.append(Drop(reason, count, first_ns, last_ns))

    def runs(self) -> list[Drop]:
        """Return the runs by time."""
        return sorted(self._runs, key=lambda run: (run.first_ns, run.reason))
