"""Roll out a checkpoint in the simulator without a graph, and count what it did.

    python -m training.evidence.rollouts ckpt/stage2 --task "put the carrot on the plate" \
        --trials 100 --seed 0 --json out.json
    python -m training.evidence.rollouts ckpt/stage2 --cells tap --workers 2 --json out.json
    python -m training.evidence.rollouts ckpt/stage2 --cells "carrot/viewpoint" --film films

The world, the safety layer, the observations and the motion are those of the graph; the network's
answer counts --latency after its observation, whatever it took. Scenes are fixed by seed and trial,
equal for every checkpoint. Partial success is that the object was grasped, or of a push touched;
entire success is the end state, reached within the time limit. The table has Wilson intervals.

The same command goes on where it was stopped: --json has a file beside it with a line a trial.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Literal

import torch
from tqdm import tqdm

from training.datasets.files import write_text
from training.datasets.side_by_side import side_by_side
from training.evidence.cells import CELLS, Cell, cells_named, task_cell
from training.evidence.rollouts_films import write_strip
from training.evidence.rollouts_log import TrialLog
from training.evidence.rollouts_policy import LATENCY_S
from training.evidence.rollouts_trial import Settings, Stage, roll_out
from training.evidence.statistics import wilson
from training.provenance import code_version
from vla_ros.core.errors import CheckpointError, EpisodeError, VlaError
from vla_ros.policy.checkpoint import Checkpoint, load_checkpoint
from vla_ros.policy.checkpoint_hash import checkpoint_sha256
from vla_ros.policy.runner import runner_of
from vla_ros.sim.trials import SCENARIOS

# Scenes of larger ones would meet those that are learnt from.
_MOST_SEED = 9999


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the command line's settings."""
    parser = argparse.ArgumentParser(
        prog="training.evidence.rollouts",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("checkpoint", type=Path, help="folder that a Stage 2 script wrote")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--task", help="one instruction")
    what.add_argument(
        "--cells", nargs="+", help=f"cells by name; {' and '.join(CELLS)} are all of a method"
    )
    add("--scenario", choices=SCENARIOS, default="standard", help="of --task")
    add("--trials", type=int, default=100, help="of each cell")
    add("--seed", type=int, default=0, help="of the scenes")
    add("--time-limit", type=float, default=Settings.time_limit_s, help="for each task [s]")
    add("--latency", help="of an answer [s], or measured; else the method's, in LATENCY_S")
    add("--camera-rate", type=float, default=Settings.camera_hz, help="pictures a second [Hz]")
    add("--width", type=int, default=Settings.width, help="of the camera's pictures [px]")
    add("--height", type=int, default=Settings.height, help="[px]; they are made square as always")
    add("--json", type=Path, required=True, help="results to write")
    add("--film", type=Path, help="folder for film strips")
    add("--film-trials", type=int, default=4, help="first trials of each cell to have one")
    add("--workers", type=int, default=1, help="processes")
    add("--overwrite", action="store_true", help="replace results of something else")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Roll out as the command line says; an error is one sentence on stderr and exit code 1."""
    args = parse_arguments(argv)
    try:
        result = run(args)
    except VlaError as error:
        print(f"training.evidence.rollouts: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "training.evidence.rollouts: stopped; trials that are done are kept: run the same "
            "command again",
            file=sys.stderr,
        )
        return 130
    print(table(result))
    return 0


def run(args: argparse.Namespace) -> dict:
    """Do what is left of the trials, write the results and return them.

    Raises:
        VlaError: checkpoint, cells or files cannot be used, or a worker died.
    """
    cells = cells_named(args.cells) if args.cells else (task_cell(args.task, args.scenario),)
    if min(args.trials, args.workers) < 1 or not 0 <= args.seed <= _MOST_SEED:
        raise EpisodeError(f"--trials and --workers must be 1 or more, --seed 0 to {_MOST_SEED}")
    checkpoint = _loaded(args.checkpoint)  # what is wrong with it is said before a worker starts
    latency = _latency(args.latency or str(LATENCY_S[checkpoint.method]))
    size_px = args.width, args.height
    settings = Settings(args.seed, args.time_limit, latency, args.camera_rate, *size_px)
    facts = {
        "checkpoint_sha256": checkpoint_sha256(args.checkpoint),
        "settings": settings.to_dict(),
    }
    log = TrialLog(_log_path(args.json), facts, args.overwrite)
    films = None if args.film is None else (args.film, args.film_trials)
    todo = [
        (cell.name, trial)
        for cell in cells
        for trial in range(args.trials)
        if (cell.name, trial) not in log.records
    ]
    by_name = {cell.name: cell for cell in cells}
    job = partial(_trial, args.checkpoint, by_name, settings, films)
    start_s = time.monotonic()
    with tqdm(total=len(todo), desc=args.checkpoint.name, unit="trial", disable=None) as bar:
        for record, fault in _done(todo, job, args.workers):
            if fault:
                raise EpisodeError(fault)
            log.add(record)
            bar.update()
    took_s = time.monotonic() - start_s
    result = {
        "checkpoint": str(args.checkpoint),
        **facts,
        "code_version": code_version(),
        "trials_a_minute": round(60 * len(todo) / took_s, 2) if todo else None,
        "workers": args.workers,
        "cells": [summary(cell, args.trials, log) for cell in cells],
        "trials": [log.records[cell.name, t] for cell in cells for t in range(args.trials)],
    }
    write_text(args.json, json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    return result


def summary(cell: Cell, trials: int, log: TrialLog) -> dict:
    """Return counts and Wilson intervals of a cell."""
    records = [log.records[cell.name, trial] for trial in range(trials)]
    found: dict = {"cell": cell.name, "scenario": cell.scenario, "trials": trials}
    for what in ("partial", "success"):
        count = sum(record[what] for record in records)
        found[what] = count
        found[f"{what}_interval_95"] = [round(v, 4) for v in wilson(count, trials)[1:]]
    if any(len(record["tasks_success"]) > 1 for record in records):
        found["success_by_task"] = [
            sum(record["tasks_success"][k] for record in records) for k in range(2)
        ]
    return found


def table(result: dict) -> str:
    """Return the results as lines for a terminal."""
    width = max(len(cell["cell"]) for cell in result["cells"])
    lines = [f"{'cell':<{width}}  trials  partial             entire (95 % Wilson)"]
    for cell in result["cells"]:
        shown = []
        for what in ("partial", "success"):
            low, high = cell[f"{what}_interval_95"]
            share = 100 * cell[what] / cell["trials"]
            shown.append(f"{share:3.0f} % [{100 * low:3.0f}, {100 * high:3.0f}]")
        extra = ""
        if "success_by_task" in cell:
            extra = f"  first, second task done: {cell['success_by_task']}"
        lines.append(f"{cell['cell']:<{width}}  {cell['trials']:6d}  {'  '.join(shown)}{extra}")
    if result["trials_a_minute"]:
        lines.append(f"{result['trials_a_minute']:g} trials a minute, {result['workers']} workers")
    return "\n".join(lines)


def _latency(text: str) -> float | Literal["measured"]:
    if text == "measured":
        return "measured"
    try:
        latency_s = float(text)
    except ValueError:
        latency_s = -1.0
    if not 0.0 <= latency_s <= 10.0:
        raise EpisodeError(f"--latency must be 0 to 10 s, or measured, got {text!r}")
    return latency_s


def _log_path(path: Path) -> Path:
    return path.with_name(f"{path.stem}.trials.jsonl")


# --- what a worker does ---


@cache
def _stage(path: Path, settings: Settings) -> Stage:
    """Return this process's cameras."""
    return Stage(runner_of(_loaded(path)).cameras, settings)


@cache
def _loaded(path: Path) -> Checkpoint:
    """Return this process's checkpoint; CheckpointError where it cannot act."""
    torch.set_num_threads(1)
    checkpoint = load_checkpoint(path)
    if checkpoint.policy.config.stage != 2:
        raise CheckpointError(
            f"checkpoint {path} is of stage 1, which follows no instruction; give one that "
            f"training.stage2_{checkpoint.method} wrote"
        )
    return checkpoint


def _trial(
    path: Path,
    cells: dict[str, Cell],
    settings: Settings,
    films: tuple[Path, int] | None,
    item: tuple[str, int],
    say=None,
) -> tuple[dict, str]:
    """Do a trial; return its record, or why it could not be done."""
    name, trial = item
    try:
        stage = _stage(path, settings)
        record, frames = roll_out(_loaded(path), cells[name], trial, settings, stage)
        if films is not None and trial < films[1]:
            write_strip(films[0], record, frames)
    except VlaError as error:
        return {}, f"trial {trial} of cell {name!r}: {error}"
    return record, ""


def _done(todo: list, job: partial, workers: int) -> Iterator[tuple[dict, str]]:
    if workers == 1 or len(todo) < 2:
        yield from (job(item) for item in todo)
        return
    os.environ["OMP_NUM_THREADS"] = "1"  # the others have the other processors
    for item, found in side_by_side(todo, job, workers, lambda *_: None):
        if isinstance(found, str):
            raise EpisodeError(f"trial {item}: {found}; the same command goes on from here")
        yield found


if __name__ == "__main__":
    sys.exit(main())
