"""What the soak's node did before something that must not happen."""

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

# What is told of the time before [s]; violations are found in batches of at most 20 s.
_BEFORE_S, _KEPT_S = 1.0, 25.0


class State(NamedTuple):
    """What there is to know of the node and its arm in one command period.

    Attributes:
        verdict: cause of the loop's verdict, "go" for none.
        does: "moves", "rests", "stopped", "ended", "paused", "starts" or "silent".
        torque: a 1 or 0 for each arm joint.
        faults: what goes wrong, with its joint.
    """

    verdict: str
    does: str
    torque: str
    faults: tuple[str, ...]


class Trace:
    """Remembers what changed of late, and tells it with each event.

    Attributes:
        told: what was told so far: at_s [s], kind, detail, and the changes of the second before.
    """

    def __init__(self) -> None:
        self._changes: deque[tuple[float, State]] = deque()
        self.told: list[dict] = []

    def note(self, now_s: float, state: State) -> None:
        """Note the state of now [s]."""
        if not self._changes or self._changes[-1][1] != state:
            self._changes.append((now_s, state))
        while len(self._changes) > 1 and self._changes[1][0] < now_s - _KEPT_S:
            self._changes.popleft()

    def tell(self, at_s: float, kind: str, detail: str) -> str:
        """Return a line on an event at `at_s` [s] and what was going on, and keep it."""
        before = [
            (since_s, state)
            for (since_s, state), end_s in zip(self._changes, self._ends(), strict=True)
            if end_s > at_s - _BEFORE_S and since_s <= at_s + 1e-6
        ]
        story = [f"{since_s - at_s:+.2f} s {_said(state)}" for since_s, state in before]
        self.told.append({"at_s": round(at_s, 3), "kind": kind, "detail": detail, "before": story})
        return f"{at_s:.2f} s: {kind}: {detail}; before: {' | '.join(story)}"

    def _ends(self) -> Iterable[float]:
        return [*(since_s for since_s, _ in self._changes), float("inf")][1:]


def _said(state: State) -> str:
    words = [state.verdict, state.does]
    if "0" in state.torque:
        words.append(f"torque {state.torque}")
    return " ".join([*words, *(f"[{fault}]" for fault in state.faults)])
