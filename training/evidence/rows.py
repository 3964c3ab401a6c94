"""The rows of both tables: which data and which stages a policy learns from.

Of one method, all rows take the same optimiser steps in a stage, see the same data in the same
order for equal seeds, and are measured at the last checkpoint.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        name: for files and command lines.
        words: for tables.
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


def _tap(name: str, words: str, play_h: float, demos: int = 0) -> Row:
    return Row(name, words, f"pair-{play_h:g}h", play_h=play_h, demos=demos)


TAP_ROWS: tuple[Row, ...] = (
    Row("scratch", "from scratch (Stage 2 only)"),
    _tap("tap-1h", "TAP, 1 h of play", 1),
    _tap("tap-3h", "TAP, 3 h of play", 3),
    _tap("tap-10h", "TAP, 10 h of play", 10),
    _tap("tap-30h", "TAP, 30 h of play", 30),
    Row(
        "vision",
        "vision-only behaviour cloning on the same play",
        "vision",
        ("--condition", "vision"),
    ),
    Row(
        "frozen",
        "TAP, 30 h of play, features frozen in Stage 2",
        "pair-30h",
        options=("--frozen",),
        play_h=30,
    ),
    Row("scratch-50", "from scratch, 50 demonstrations", demos=50),
    _tap("tap-30h-50", "TAP, 30 h of play, 50 demonstrations", 30, 50),
    Row("scratch-100", "from scratch, 100 demonstrations", demos=100),
    _tap("tap-30h-100", "TAP, 30 h of play, 100 demonstrations", 30, 100),
)
APT_ROWS: tuple[Row, ...] = (
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
ROWS: dict[str, tuple[Row, ...]] = {"tap": TAP_ROWS, "apt": APT_ROWS}
# Against which row of its method each difference is taken.
CONTROL: dict[str, str] = {
    **{"tap-30h-50": "scratch-50", "tap-30h-100": "scratch-100"},
    **{row.name: "scratch" for row in TAP_ROWS if not row.demos and row.name != "scratch"},
    **{"pi-two": "pi-single", "groot-two": "groot-single"},
    **{row.name: "single" for row in APT_ROWS if row.first in ("apt", "gate")},
    "single-full": "single",
}


@dataclass(frozen=True)
class Scale:
    """How large an experiment is.

    Attributes:
        name: for tables.
        words: what a table of it is good for.
        recipe: of all scripts.
        play_h: hours of play, each of which a row may take, rising.
        demos: demonstrations a task of TAP, likewise.
        apt_demos: demonstrations for each pair of toy and place.
        apt_tasks: so many of the pairs; 0: all.
        captions: frames that the backbone learns to see from; 0: no backbone is made.
        backbone_steps, first_steps, second_steps: of the backbone and of the two stages.
        trials: of each cell.
        time_limit_s: of each task of a trial.
        seeds: of training.
        samples: frames of the open-loop measure.
    """

    name: str
    words: str
    recipe: str
    play_h: tuple[float, ...]
    demos: tuple[int, ...]
    apt_demos: int
    apt_tasks: int
    captions: int
    backbone_steps: int
    first_steps: int
    second_steps: int
    trials: int
    time_limit_s: float
    seeds: tuple[int, ...]
    samples: int


_TINY = {"captions": 40, "backbone_steps": 2, "first_steps": 2, "second_steps": 2}
SCALES: dict[str, Scale] = {
    scale.name: scale
    for scale in (
        Scale(
            *("full", "", "small", (1, 3, 10, 30), (50, 100, 200), 60, 0),
            *(20_000, 6_000, 6_000, 4_000, 100, 20.0, (0, 1, 2), 1000),
        ),
        Scale(
            "tiny",
            "tiny: plumbing only, nothing here says anything about a method",
            "tiny",
            (1 / 60,),
            (2,),
            2,
            2,
            **_TINY,
            trials=2,
            time_limit_s=0.6,
            seeds=(0, 1),
            samples=8,
        ),
    )
}
