"""What a person says of the recordings of their demonstrations: start, keep, discard, redo. No ROS.

A take is one recording. What was recorded is never deleted: a discarded take is marked, by the
reason of its end, and whoever makes a dataset leaves it out.
"""

import math
from dataclasses import dataclass

import numpy as np

from vla_ros.core.episode import DISCARDED
from vla_ros.core.errors import EpisodeError

# `record` is one button for two words: start, and keep while a take runs.
WORDS = ("start", "keep", "failed", "discard", "redo", "record", "finish")
# What a take of each word ends with: success, and why it ended.
_ENDS = {
    "keep": (True, "kept by the person"),
    "failed": (False, "the person calls it a failure"),
    "discard": (False, DISCARDED),
    "redo": (False, DISCARDED),
}
# Nobody shows a task in less, so that `keep` means a start that was forgotten: time [s], joints
# [rad], and the gripper's opening.
_LEAST_S, _LEAST_RAD, _LEAST_OPENING = 2.0, 0.05, 0.1


@dataclass(frozen=True)
class End:
    """How a take ends.

    Attributes:
        success: whether the task was done; None where nobody judged.
        reason: why it ended.
    """

    success: bool | None
    reason: str


class Takes:
    """Counts takes, and turns words into what is to be done.

    Args:
        wanted: takes to keep, 1 or more.

    Attributes:
        state: "idle"; "asked for", from `start` on; "running", from `began` on; "ending", from the
            word on that ends it, to `over`.
        end: how the take that is ending ends; else None.
        kept, failed, discarded: how many there were.
    """

    def __init__(self, wanted: int):
        self.wanted = wanted
        self.state = "idle"
        self.end: End | None = None
        self.kept = self.failed = self.discarded = 0
        self._again = self._finished = False
        # Whether a take ended without a word of the person's, who may not know it yet.
        self._is_unnoticed = False
        self._began_s = 0.0
        self._began_at: tuple[np.ndarray, float] | None = None
        self._has_moved = False

    @property
    def done(self) -> bool:
        """Whether nothing more shall be recorded."""
        return self.state == "idle" and (self._finished or self.kept >= self.wanted)

    @property
    def summary(self) -> str:
        """One line for the person."""
        return (
            f"{self.kept} of {self.wanted} kept, {self.failed} failed, {self.discarded} discarded"
        )

    def say(self, word: str, now_s: float) -> str:
        """Take in one of `WORDS`; return what it does, as a sentence for the person.

        Args:
            word: what the person says.
            now_s: when [s, the clock of `began`].

        Raises:
            EpisodeError: no such word, or it means nothing now; nothing has changed then, but that
                the person knows what became of the last take.
        """
        if word not in WORDS:
            raise EpisodeError(f"{word!r} is no word of a teacher: say one of {', '.join(WORDS)}")
        if word == "record":
            word = "start" if self.state in ("idle", "ending") else "keep"
            self._require_noticed()
        if word == "finish":
            return self._finish()
        if word == "start":
            return self._start()
        if word == "discard" and (self.state == "asked for" or self._again):
            return self._take_back()
        if self.state != "running":
            raise EpisodeError(f"nothing is being recorded that you could {word} ({self.state})")
        if word == "keep":
            self._require_demonstration(now_s)
        self.end, self._again = End(*_ENDS[word]), word == "redo"
        self.state = "ending"
        return {"keep": "kept", "failed": "kept as a failure"}.get(word, "discarded")

    def began(self, now_s: float) -> None:
        """Note that the take that was asked for is being recorded [s]."""
        self.state = "running"
        self._began_s, self._began_at, self._has_moved = now_s, None, False

    def saw(self, q_rad: np.ndarray, opening: float) -> None:
        """Note where a running take has the arm: joints (6,) [rad], and the gripper's opening."""
        if self._began_at is None:
            self._began_at = q_rad.copy(), opening
        q_began_rad, opening_began = self._began_at
        way_rad = float(np.abs(q_rad - q_began_rad).max())
        self._has_moved |= way_rad >= _LEAST_RAD or abs(opening - opening_began) >= _LEAST_OPENING

    def cut(self, reason: str) -> None:
        """End a running take that nobody can judge; one that was asked for is none any more."""
        if self.state == "asked for":
            self.lost()
        elif self.state == "running":
            self.state, self.end = "ending", End(None, reason)
            self._is_unnoticed = True

    def lost(self) -> None:
        """Note that the take that was asked for, or ran, is none any more."""
        self._is_unnoticed |= self.state != "idle"
        self.state, self.end, self._again = "idle", None, False

    def give_up(self) -> None:
        """Note that nothing more can be recorded."""
        self.lost()
        self._finished = True

    def over(self) -> None:
        """Note that the end was written; where the next was asked for meanwhile, it is now."""
        end, self.end = self.end, None
        if end is not None:
            self.kept += end.success is True
            self.discarded += end.reason == DISCARDED
            self.failed += end.success is False and end.reason != DISCARDED
        again, self._again, self.state = self._again, False, "idle"
        if again and not self.done:
            self.state = "asked for"

    def _start(self) -> str:
        self._is_unnoticed = False
        if self.state == "ending":
            self._again = True
            return "starts as soon as the last one is saved"
        if self.state != "idle":
            raise EpisodeError(f"a take is {self.state} already; {self._remedy} first")
        if self.done:
            raise EpisodeError(f"there is nothing more to record: {self.summary}")
        self.state = "asked for"
        return "the recording begins as soon as the recorder is ready"

    def _take_back(self) -> str:
        self._again = False
        if self.state == "asked for":
            self.state = "idle"
        return "the start is taken back: nothing more is recorded"

    def _finish(self) -> str:
        if self.state == "running":
            raise EpisodeError(f"a take is running; {self._remedy} first")
        self._take_back()
        self._finished = True
        return f"finished: {self.summary}"

    @property
    def _remedy(self) -> str:
        return "keep or discard it" if self.state == "running" else "discard it"

    def _require_noticed(self) -> None:
        """Raise EpisodeError, once, where the person may mean to keep what is not recorded."""
        was_unnoticed, self._is_unnoticed = self._is_unnoticed, False
        if was_unnoticed and not self.done:
            raise EpisodeError(
                "nothing is kept, and nothing started: what you started last has ended without a "
                "word of yours, see above; press once more to start anew"
            )

    def _require_demonstration(self, now_s: float) -> None:
        """Raise EpisodeError where the running take can be none: the person takes it for idle."""
        lasted_s = now_s - self._began_s
        if lasted_s < _LEAST_S:
            why = f"began {lasted_s:.1f} s ago"
        elif not self._has_moved:
            why = f"has run for {lasted_s:.0f} s, and the arm has not moved"
        else:
            return
        raise EpisodeError(
            f"not kept: this recording {why}, so it shows nothing yet; say discard if you did not "
            "know that it runs, else go on"
        )


class Presses:
    """Which presses of buttons and keys count.

    A bounce, an impatient second press and what a terminal repeats of a held key are of the press
    before: with one button for start and keep they would turn every label round.

    Args:
        apart_s: one that comes sooner after the last of the same word does not count [s].
    """

    def __init__(self, apart_s: float):
        self._apart_s = apart_s
        self._last_s: dict[str, float] = {}

    def counts(self, word: str, now_s: float) -> bool:
        """Note a press at `now_s`; return whether it is one of its own."""
        last_s, self._last_s[word] = self._last_s.get(word, -math.inf), now_s
        return now_s - last_s >= self._apart_s


class Confirmation:
    """Whether a person means it: the same request twice, neither at once nor too late.

    Args:
        at_least_s: one that comes sooner after the last is of the same press: a held key is one
            press, however often its terminal repeats it [s].
        at_most_s: one that comes later after the last is a first one again [s].
    """

    def __init__(self, at_least_s: float, at_most_s: float):
        self._at_least_s, self._at_most_s = at_least_s, at_most_s
        self._asked_s: float | None = None

    def ask(self, now_s: float) -> bool:
        """Note a request at `now_s`; return whether it confirms the one before."""
        asked_s = self._asked_s
        if asked_s is not None and self._at_least_s <= now_s - asked_s <= self._at_most_s:
            self._asked_s = None
            return True
        self._asked_s = now_s
        return False

    def forget(self) -> None:
        """Take the next request for a first one."""
        self._asked_s = None
