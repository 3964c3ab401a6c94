"""From nothing to the table of a paper: generate, convert, train every row, roll out, report.

    python -m training.experiment tap --out ~/tap --plan        # what will take how long
    python -m training.experiment tap --out ~/tap --workers 2   # takes days; stop it at any time
    python -m training.experiment apt --out ~/apt --rows single two-frozen --seeds 0 1 2
    python -m training.experiment tap --out ~/t --scale reduced # hours: 3 h of play, 30 trials
    python -m training.experiment tap --out /tmp/t --scale tiny # minutes: plumbing only

Each stage is a command of this repository, done once: the same command line again goes on where it
was stopped, also in the middle of a training or of roll-outs. Rows, cells and rules are in
docs/evidence.md. DIR/results has METHOD.json and METHOD.md, plots, film strips and Grad-CAM
pictures; they are written anew after each stage that measures, with "not run" for what is to come.
"""

import argparse
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

from training.evidence.plan import Experiment, stages_of
from training.evidence.report import write_report
from training.evidence.rows import METHODS, SCALES, Row, Scale, rows_of
from training.evidence.stages import KINDS, ExperimentError, Ledger
from vla_ros.core.errors import VlaError

# What is reported changes after these.
_MEASURING = ("open_loop", "rollouts_tap", "rollouts_apt", "probe")


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the command line's settings."""
    parser = argparse.ArgumentParser(
        prog="training.experiment",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("method", choices=METHODS)
    add("--out", type=Path, required=True, help="folder of everything")
    add("--scale", choices=SCALES, default="full")
    add("--rows", nargs="+", help="names; else all that can be run and are no extras")
    add("--seeds", nargs="+", type=int, help="of training; else the scale's")
    add("--trials", type=int, help="of each cell; else the scale's")
    add("--backbone", type=Path, help="folder of training.pretrain_vlm; else one is made")
    add("--only", nargs="+", metavar="WORD", help="stages whose name holds a word, if not done")
    add("--plan", action="store_true", help="say what will take how long, and do nothing")
    add(
        "--speed",
        nargs="+",
        default=[],
        metavar="KIND=SECONDS",
        help=f"seconds for one unit, for the plan: {', '.join(KINDS)}",
    )
    add("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    add(
        "--compile",
        action="store_true",
        help="translate APT's steps first: minutes once, then they take six tenths of the time",
    )
    return parser.parse_args(argv)


def chosen_rows(method: str, scale: Scale, names: list[str] | None) -> tuple[Row, ...]:
    """Return the rows of these names, in the table's order; None: all but the extra ones.

    Raises:
        ExperimentError: the scale has no such row.
    """
    rows = rows_of(method, scale)
    unknown = set(names or ()) - {row.name for row in rows}
    if unknown:
        raise ExperimentError(
            f"{method} has no row {', '.join(sorted(unknown))} at scale {scale.name}; choose from "
            f"{', '.join(row.name for row in rows)}"
        )
    if names is None:
        return tuple(row for row in rows if not row.is_extra)
    return tuple(row for row in rows if row.name in names)


def experiment_of(args: argparse.Namespace) -> Experiment:
    """Return what the command line asks for; raises ExperimentError."""
    scale = SCALES[args.scale]
    seeds = tuple(args.seeds or scale.seeds)
    trials = args.trials or scale.trials
    if len(set(seeds)) < len(seeds) or min(*seeds, args.workers - 1, trials - 1) < 0:
        raise ExperimentError(
            "--seeds must be different numbers from 0, --trials and --workers 1 or more"
        )
    rows = chosen_rows(args.method, scale, args.rows)
    backbone = None if args.backbone is None else args.backbone.resolve()
    scale = replace(scale, trials=trials)
    return Experiment(
        *(args.method, args.out.resolve(), scale, rows, seeds, backbone, args.workers),
        compiles=args.compile,
    )


def plan_table(experiment: Experiment, ledger: Ledger, given: dict[str, float]) -> str:
    """Return what each stage, kind and row will take from here on, as lines for a terminal."""
    seconds = ledger.seconds(given)
    lines, by_row, whole = ["   minutes  stage"], {}, 0.0
    names = [row.name for row in experiment.rows]
    for stage in ledger.stages:
        done = ledger.is_done(stage)
        minutes = 0.0 if done else seconds[stage.kind] * stage.amount / 60
        whole += minutes
        unit = KINDS[stage.kind][0]
        shown = "done" if done else f"{minutes:.0f}" if minutes >= 10 else f"{minutes:.1f}"
        lines.append(f"{shown:>10}  {stage.name}  ({stage.amount:.6g} {unit})")
        row = stage.name.rsplit("/", 1)[-1].rsplit("-s", 1)[0]
        own = stage.name.startswith(("stage2", "open_loop", "rollouts", "attention", "probe"))
        key = row if own and row in names else "shared: data, backbone, Stage 1"
        by_row[key] = by_row.get(key, 0.0) + minutes
    lines += ["", "     hours  row, over all seeds"]
    lines += [f"{minutes / 60:10.1f}  {row}" for row, minutes in by_row.items()]
    lines.append(f"{whole / 60:10.1f}  in all, one stage after the other")
    return "\n".join(lines)


def speeds(said: list[str]) -> dict[str, float]:
    """Return what `--speed` says; raises ExperimentError where that is nothing."""
    found = {}
    for text in said:
        kind, _, number = text.partition("=")
        try:
            found[kind] = float(number)
        except ValueError:
            found[kind] = 0.0
        if kind not in KINDS or not found[kind] > 0:
            raise ExperimentError(
                f"--speed {text!r} is no KIND=SECONDS; kinds are {', '.join(KINDS)}"
            )
    return found


def run(args: argparse.Namespace) -> str:
    """Do, or plan, what the command line asks for; return the last words."""
    experiment = experiment_of(args)
    given = speeds(args.speed)
    ledger = Ledger(experiment.out / "stages", stages_of(experiment))
    if args.plan:
        return plan_table(experiment, ledger, given)
    for stage in ledger.stages:
        if ledger.is_done(stage):
            continue
        if args.only and not any(word in stage.name for word in args.only):
            continue
        for name in stage.needs:
            if not ledger.is_done(next(s for s in ledger.stages if s.name == name)):
                raise ExperimentError(f"stage {stage.name} needs {name}, which is not done")
        stage.out.parent.mkdir(parents=True, exist_ok=True)
        ledger.run(stage)
        if stage.kind in _MEASURING:
            write_report(experiment)
    return write_report(experiment)


def main(argv: list[str] | None = None) -> int:
    """Do what the command line says; an error is a sentence on stderr and exit code 1."""
    args = parse_arguments(argv)
    # What ends this ends the stage that runs, which saves.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        print(run(args))
    except VlaError as error:
        print(f"training.experiment: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"training.experiment: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("training.experiment: stopped; run the same command again to go on", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


if __name__ == "__main__":
    sys.exit(main())
