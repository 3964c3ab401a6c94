"""A run's files in its checkpoint folder: written, resumed from, kept from being lost.

metrics.json lies beside what `checkpoint` says, and training_state.pt until the run has ended.
"""

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any

from training.learning.engine import Job
from training.learning.snapshot import Progress, Snapshot, resume, write_state
from vla_ros.core.errors import CheckpointError
from vla_ros.policy.checkpoint import RUN
from vla_ros.policy.checkpoint_folder import FileContent

STATE_FILE, METRICS_FILE = "training_state.pt", "metrics.json"


def run_files(
    job: Job, progress: Progress, snapshot: Snapshot, metrics: dict
) -> dict[str, FileContent]:
    """Return the files that belong beside weights and run.json, by name."""
    files: dict[str, FileContent] = {
        METRICS_FILE: (json.dumps(metrics, indent=2) + "\n").encode(),
    }
    if progress.step < job.config.steps:
        files[STATE_FILE] = partial(write_state, snapshot, progress)
    return files


def require_no_loss(args: argparse.Namespace, **facts: Any) -> None:
    """Raise CheckpointError where a run would replace another, unfinished or finished, unasked.

    A run saves when it is stopped, so a slip of seconds would cost the one that is there.

    Args:
        args: of the command line.
        facts: that tell the kind, as run.json has them, such as stage and method.
    """
    if args.resume or args.overwrite or not (args.out / RUN).exists():
        return
    found = _read(args.out / RUN, "give another --out, or begin anew by --overwrite")
    if any(found.get(name) != fact for name, fact in facts.items()):
        kind = ", ".join(f"{name} {found.get(name)}" for name in facts)
        raise CheckpointError(
            f"{args.out} holds another kind of run ({kind}); give another --out, or replace it by "
            "--overwrite"
        )
    done, steps = found.get("steps_done"), found.get("config", {}).get("steps")
    if done == steps:
        what = f"a finished run of {steps} steps; give another --out, or replace it by --overwrite"
    else:
        what = (
            f"a run that has done {done} of {steps} steps; go on with it by --resume, or begin "
            "anew by --overwrite"
        )
    raise CheckpointError(f"{args.out} holds {what}")


def go_on(out: Path, job: Job, facts: dict) -> tuple[Progress, dict]:
    """Put the run in `out` into the job; return its progress and its metrics.

    Args:
        out: checkpoint folder.
        job: fresh.
        facts: of this run; the one found has to share all of them.

    Raises:
        CheckpointError: it is another run, or damaged.
    """
    remedy = "start this run again without --resume, by --overwrite"
    found = _read(out / RUN, remedy)
    different = differences(found, json.loads(json.dumps(facts)))
    if different:
        raise CheckpointError(
            f"{out} belongs to another run ({', '.join(different)} differ); resume with the same "
            "options, or give another --out"
        )
    metrics = _read(out / METRICS_FILE, remedy)
    if found.get("steps_done") == job.config.steps:
        return Progress(job.config.steps), metrics
    return resume(job, out / STATE_FILE), metrics


def differences(found: Any, wanted: dict, name: str = "") -> list[str]:
    """Return the names of what differs, such as "config.steps"."""
    if not isinstance(found, dict):
        return [name]
    names = []
    for key, value in wanted.items():
        path = f"{name}.{key}" if name else key
        if isinstance(value, dict):
            names += differences(found.get(key), value, path)
        elif found.get(key) != value:
            names.append(path)
    return names


def _read(path: Path, remedy: str) -> dict:
    try:
        found = json.loads(path.read_text())
        if isinstance(found, dict):
            return found
        what = f"a {type(found).__name__}"
    except (OSError, ValueError) as error:
        what = type(error).__name__
    raise CheckpointError(f"{path} is missing or damaged ({what}); {remedy}")
