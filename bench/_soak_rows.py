"""What the soak reports, row by row."""

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from bench._report import Row

if TYPE_CHECKING:
    from bench.soak import Soak


def _said(counts: Counter) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"


def rows_of(soak: "Soak", simulated_s: float, pace: float, memory_mb: list[float]) -> list[Row]:
    """Return the rows after so many simulated seconds; memory [MB] by minute."""
    judge, hours = soak.judge, simulated_s / 3600.0
    broken = judge.violations.total()
    times = sorted(soak.book.hold_s.items())
    hold_s = max((max(times_s) for _, times_s in times), default=0.0)
    peaks = ", ".join(f"{name} {share:.0%}" for name, share in sorted(judge.peaks.items()))
    return [
        Row(
            f"limit violations at the servos in {hours:.3g} h of play, {judge.goals} goals and "
            f"{judge.ticks} ticks: {_said(judge.violations)}",
            "",
            broken,
            goal="0",
            met=broken == 0,
        ),
        Row(f"the same where no commander can help: {_said(judge.apart)}", "", judge.apart.total()),
        Row(f"largest share of a limit: {peaks}", "", max(judge.peaks.values(), default=0.0)),
        Row(f"faults: {_said(soak.book.faults)}", "", soak.book.faults.total()),
        Row(f"holds by cause and fault: {_said(soak.book.holds)}", "", soak.book.holds.total()),
        Row(
            f"holds that no fault explains: {_said(soak.book.unattributed)}",
            "",
            soak.book.unattributed.total(),
            goal="0",
            met=not soak.book.unattributed,
        ),
        Row(
            "faults through which the arm moved on (too short, too weak, or missed): "
            f"{_said(soak.book.unnoticed)}",
            "",
            soak.book.unnoticed.total(),
        ),
        Row(
            "from fault to hold of an arm in motion, slowest; median and slowest of so many: "
            + ", ".join(
                f"{name} {np.median(s) * 1e3:.0f} and {max(s) * 1e3:.0f} ms of {len(s)}"
                for name, s in times
            ),
            "ms",
            1e3 * hold_s,
        ),
        Row(f"joint states refused: {_said(soak.rejected)}", "", soak.rejected.total()),
        Row("targets refused by the guard", "", soak.refusals),
        Row("targets out of reach", "", soak.unreachable),
        Row(f"emergency stops, of {soak.stops} stops that a person reset", "", soak.presses),
        Row(f"nodes that ended and were started anew: {_said(soak.ends)}", "", soak.ends.total()),
        Row(
            "streams that began anew where the arm stood, at most at "
            f"{judge.restart_rad_s:.3f} rad/s",
            "",
            judge.restarts,
        ),
        Row("joints that were sent to where they stood, alone", "", judge.joint_restarts),
        Row("segments", "1/h", soak.segments / hours),
        Row("contacts", "1/h", soak.contacts.touched / hours),
        Row(
            "growth of memory after the first tenth",
            "MB",
            memory_mb[-1] - memory_mb[len(memory_mb) // 10],
        ),
        Row("pace on one core", "x real time", pace, goal="≥ 30", met=pace >= 30.0),
    ]
