"""What a night of play came to: a line a minute, and a summary at its end. No ROS."""

import json
import shutil
from pathlib import Path

from vla_ros.core.errors import EpisodeError

SUMMARY_FILE = "play_summary.json"


class PlayLog:
    """Counts what happened since play began.

    Args:
        start_ns: the node's time then [ns].
        start_s: wall time then [s].
        hours: how long play is to last [h]; 0: not said.

    Attributes:
        segments: segments played to their end.
        stopped, blocked: segments that a stop or warm motors ended early, or a blocked arm.
        cuts: segments that recording did not let begin or end.
        rests: times the motors rested.
        blocks: times the arm was blocked.
        refused, unreachable: targets refused by the safety layer, and out of reach.
        bags: the folders of the bags that were saved.
    """

    def __init__(self, start_ns: int, start_s: float, hours: float):
        self._start_ns, self._start_s, self._hours = start_ns, start_s, hours
        self.segments = self.stopped = self.blocked = 0
        self.cuts = self.rests = self.blocks = 0
        self.refused = self.unreachable = 0
        self.bags: tuple[str, ...] = ()

    def count(self, outcome: str) -> None:
        """Count a segment that was recorded: "whole", "stopped" or "blocked"."""
        if outcome == "whole":
            self.segments += 1
        elif outcome == "stopped":
            self.stopped += 1
        else:
            self.blocked += 1

    def line(self, now_ns: int) -> str:
        """Return the state of affairs in one line."""
        played_h = (now_ns - self._start_ns) / 3600e9
        left = f", {max(0.0, self._hours - played_h):.2f} h left" if self._hours else ""
        return f"{played_h:.2f} h played{left}: {self._counts()}{self._disk()}"

    def summary(self, now_ns: int, now_s: float) -> str:
        """Return what it all came to, in one line."""
        return (
            f"{self.segments} segments, {(now_ns - self._start_ns) / 1e9:.0f} s of play time in "
            f"{now_s - self._start_s:.0f} s, {len(self.bags)} bags saved, {self.refused} targets "
            f"refused, {self.unreachable} out of reach, {self._early()}, {self.blocks} blocks, "
            f"{self.rests} motor rests"
        )

    def write(self, now_ns: int, now_s: float, failure: str) -> Path | None:
        """Write the summary as JSON beside the bags; return its path, None where there are none.

        Raises:
            EpisodeError: it cannot be written.
        """
        if not self.bags:
            return None
        path = Path(self.bags[-1]).parent / SUMMARY_FILE
        values = {
            "segments": self.segments,
            "segments_stopped": self.stopped,
            "segments_blocked": self.blocked,
            "bags": len(self.bags),
            "play_time_s": round((now_ns - self._start_ns) / 1e9, 3),
            "wall_time_s": round(now_s - self._start_s, 3),
            "targets_refused": self.refused,
            "targets_out_of_reach": self.unreachable,
            "recordings_cut": self.cuts,
            "blocks": self.blocks,
            "motor_rests": self.rests,
            "failure": failure,
        }
        try:
            path.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n")
        except OSError as error:
            raise EpisodeError(
                f"the summary cannot be written to {path} ({error.strerror}); the bags are whole"
            ) from None
        return path

    def _counts(self) -> str:
        return (
            f"{self.segments} segments, {len(self.bags)} bags, {self.refused} targets refused, "
            f"{self.unreachable} out of reach, {self._early()}, {self.blocks} blocks, "
            f"{self.rests} motor rests"
        )

    def _early(self) -> str:
        return (
            f"{self.stopped} segments stopped, {self.blocked} blocked, {self.cuts} recordings cut"
        )

    def _disk(self) -> str:
        if not self.bags:
            return ""
        folder = Path(self.bags[-1]).parent
        if not folder.is_dir():
            return ""
        return f", {shutil.disk_usage(folder).free / 1e9:.1f} GB of disk free"
