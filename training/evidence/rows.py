"""The rows of both tables: which data and which stages a policy learns from.

Of one method, all rows take the same optimiser steps in a stage, see the same data in the same
order for equal seeds, and are measured at the last checkpoint.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        name: for files and command lines.
        words: for tables; "{hours}" stands for the hours of play of its Stage 1.
        first: name of its Stage 1, "" for none; rows that share one share its run.
        first_options: further arguments of Stage 1.
        options: further arguments of Stage 2.
        play_h: hours of play that Stage 1 takes, 0: all there are; of TAP.
        demos: demonstrations a task that Stage 2 takes, 0: all there are; of TAP.
        is_extra: whether it is left out unless asked for by name.
    """

    name: str
    words: str
    first: str = ""
    first_options: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    play_h: float = 0
    demos: int = 0
    is_extra: bool = False


def _part(hours: float) -> Row:
    return Row(f"tap-{hours:g}h", "TAP, {hours} h of play", f"pair-{hours:g}h", play_h=hours)


def _few(demos: int) -> tuple[Row, Row]:
    return (
        Row(f"scratch-{demos}", f"from scratch, {demos} demonstrations", demos=demos),
        Row(
            f"tap-{demos}", f"TAP, {{hours}} h of play, {demos} demonstrations", "pair", demos=demos
        ),
    )


_TAP_ROWS: tuple[Row, ...] = (
    Row("scratch", "from scratch (Stage 2 only)"),
    *map(_part, (1, 3, 10)),
    Row("tap", "TAP, {hours} h of play", "pair"),
    Row(
        "vision",
        "vision-only behaviour cloning on the same {hours} h",
        "vision",
        ("--condition", "vision"),
    ),
    Row(
        "frozen",
        "TAP, {hours} h of play, features frozen in Stage 2",
        "pair",
        options=("--frozen",),
    ),
    *_few(50),
    *_few(100),
)
_APT_ROWS: tuple[Row, ...] = (
    Row("single", "single-stage, VLM frozen"),
    Row("two-frozen", "two-stage, VLM frozen", "apt"),
    Row("two-full", "two-stage, VLM tuned", "apt", options=("--vlm", "full")),
    Row(
        "token",
        "token insertion (two-stage, no inserted layers)",
        "apt",
        options=("--language", "token_insertion"),
    ),
    Row("pi-single", "π-style, single-stage", options=("--style", "pi")),
    Row("pi-two", "π-style, two-stage", "pi", ("--style", "pi")),
    Row("groot-single", "GR00T-style, single-stage", options=("--style", "groot")),
    Row("groot-two", "GR00T-style, two-stage", "groot", ("--style", "groot")),
    Row(
        "gate",
        "two-stage, the paper's gate in place of the code's",
        "gate",
        ("--fusion", "paper"),
    ),
    Row("single-full", "single-stage, VLM tuned", options=("--vlm", "full"), is_extra=True),
)
_ROWS: dict[str, tuple[Row, ...]] = {"tap": _TAP_ROWS, "apt": _APT_ROWS}
METHODS = tuple(_ROWS)
# Against which row of its method each difference is taken.
CONTROL: dict[str, str] = {
    **{"tap-50": "scratch-50", "tap-100": "scratch-100"},
    **{row.name: "scratch" for row in _TAP_ROWS if not row.demos and row.name != "scratch"},
    **{"pi-two": "pi-single", "groot-two": "groot-single"},
    **{row.name: "single" for row in _APT_ROWS if row.first in ("apt", "gate")},
    "single-full": "single",
}


@dataclass(frozen=True)
class Scale:
    """How large an experiment is.

    Attributes:
        name: for tables.
        words: what a table of it is good for, "" for the issue's own.
        is_plumbing: whether nothing that it measures says anything about a method.
        recipe: of all scripts.
        play_h: hours of play, each of which a row may take, rising.
        demos: demonstrations a task of TAP, likewise.
        slips, misses, losses: of the teacher of demonstrations, see `demos.Mistakes`.
        apt_demos: demonstrations for each pair of toy and place.
        apt_tasks: so many of the pairs; 0: all.
        probed: frames that features are probed with.
        captions: frames that the backbone learns to see from; 0: no backbone is made.
        backbone_steps, first_steps, second_steps: of the backbone and of the two stages.
        apt_second_steps: of APT's second stage; 0: `second_steps`.
        trials: of each cell.
        time_limit_s: of each task of a trial.
        apt_latency_s: from an observation to APT's answer; 0: `rollouts_policy.LATENCY_S`.
        seeds: of training.
        samples: frames of the open-loop measure.
    """

    name: str
    words: str
    recipe: str
    play_h: tuple[float, ...]
    demos: tuple[int, ...]
    captions: int
    backbone_steps: int
    first_steps: int
    second_steps: int
    trials: int
    slips: float = 0.0
    misses: float = 0.4
    losses: float = 0.4
    probed: int = 3000
    apt_demos: int = 60
    apt_tasks: int = 0
    apt_second_steps: int = 0
    time_limit_s: float = 20.0
    apt_latency_s: float = 0.0
    seeds: tuple[int, ...] = (0, 1, 2)
    samples: int = 1000
    is_plumbing: bool = False

    def steps(self, method: str, stage: int) -> int:
        """Return the optimiser steps of a stage, 1 or 2, of a method."""
        if stage == 1:
            return self.first_steps
        return (method == "apt" and self.apt_second_steps) or self.second_steps


_FULL = Scale(
    name="full",
    words="",
    recipe="small",
    play_h=(1, 3, 10, 30),
    demos=(50, 100, 200),
    captions=20_000,
    backbone_steps=6_000,
    first_steps=6_000,
    second_steps=4_000,
    trials=100,
)
_REDUCED = replace(
    _FULL,
    name="reduced",
    words="reduced: 3 h of play at most and half of the network, for hours instead of days",
    recipe="light",
    play_h=(1, 3),
    demos=(50, 200),
    apt_latency_s=0.15,
    captions=50_000,
    backbone_steps=2_500,
    first_steps=1_500,
    second_steps=3_000,
    apt_second_steps=4_000,
    trials=30,
)
_TINY = Scale(
    name="tiny",
    words="tiny: plumbing only, nothing here says anything about a method",
    recipe="tiny",
    play_h=(1 / 60,),
    demos=(2,),
    captions=40,
    probed=40,
    backbone_steps=2,
    first_steps=2,
    second_steps=2,
    trials=2,
    apt_demos=2,
    apt_tasks=2,
    time_limit_s=0.6,
    seeds=(0, 1),
    samples=8,
    is_plumbing=True,
)
SCALES: dict[str, Scale] = {scale.name: scale for scale in (_FULL, _REDUCED, _TINY)}


def rows_of(method: str, scale: Scale) -> tuple[Row, ...]:
    """Return a method's rows in the table's order: those of amounts that the scale has.

    A row of as much play, or as many demonstrations, as there are is the one that takes them all.
    """
    hours, demos = (0, *scale.play_h[:-1]), (0, *scale.demos[:-1])
    return tuple(
        replace(row, words=row.words.format(hours=f"{row.play_h or scale.play_h[-1]:.2g}"))
        for row in _ROWS[method]
        if row.play_h in hours and row.demos in demos
    )
