"""What every stage script shares: its command line, and a run from the first step to the last.

A script makes data, policy and the engine's job, and says with a `Stage` what belongs into the
checkpoint and how held-out error is measured; `run_stage` trains, logs, evaluates, saves, resumes.

The checkpoint folder holds metrics.json beside what `checkpoint` says, and training_state.pt
until the run has ended. Event files for TensorBoard lie beside it, in OUT.events.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch

from training.learning.ahead import Ahead
from training.learning.dry_run import measure
from training.learning.engine import Job, Progress, resume, run, run_state
from training.learning.event_log import EventLog
from training.learning.processes import World, join, leave
from training.provenance import code_version
from vla_ros.core.contract import Contract
from vla_ros.core.errors import CheckpointError, VlaError
from vla_ros.policy.backbone_description import HubSource
from vla_ros.policy.checkpoint import RUN, Checkpoint, is_checkpoint, save_checkpoint
from vla_ros.policy.normalize import Normalizer
from vla_ros.policy.parameters import num_parameters

STATE_FILE, METRICS_FILE = "training_state.pt", "metrics.json"


class HeldOut(NamedTuple):
    """What a measurement on held-out episodes gives.

    Attributes:
        metrics: plain JSON for metrics.json. "val_loss" and "val_constant_loss" have to be there:
            the policy's error and that of a constant prediction; numbers become curves.
        picture: (H, W, 3) uint8 RGB of sample predictions, or None.
    """

    metrics: dict
    picture: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Stage:
    """One run of a stage script.

    Attributes:
        args: of the command line, see `common_arguments`.
        job: of the engine, fresh.
        facts: provenance, plain JSON, "stage", "recipe" and "seed" among it. A resumed run has to
            share all of it.
        contract: of the policy.
        evaluate: measures the policy as it is, in evaluation mode and with averaged weights where
            there are some; called in the first process alone.
        normalizer, source: of the checkpoint.
    """

    args: argparse.Namespace
    job: Job
    facts: dict
    contract: Contract
    evaluate: Callable[[], HeldOut]
    normalizer: Normalizer | None = None
    source: HubSource | None = None


def common_arguments(
    name: str, description: str | None, recipes: Iterable[str]
) -> argparse.ArgumentParser:
    """Return a parser of what every stage takes; a stage adds its own, a knob goes into recipes."""
    parser = argparse.ArgumentParser(
        prog=name,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--data", type=Path, nargs="+", required=True, help="datasets of training.convert")
    add("--weights", type=float, nargs="+", help="share of each in the batches; else by size")
    add("--kinds", nargs="+", help="episodes to take; else by the rule above")
    add("--out", type=Path, required=True, help="checkpoint folder to write")
    add("--recipe", choices=tuple(recipes), default="small", help="named settings")
    add(
        "--backbone",
        help="folder of training.pretrain_vlm, or a Qwen-VL: folder, hub name or NAME@COMMIT; "
        "none: the recipe's small one from random weights",
    )
    add("--steps", type=int, help="optimiser steps; the recipe's if not given")
    add("--seed", type=int, default=0, help="of weights and batches")
    add("--resume", action="store_true", help="go on with the run in --out")
    add("--dry-run", action="store_true", help="tell parameters, memory and speed, then stop")
    return parser


def main(
    name: str, args: argparse.Namespace, train: Callable[[argparse.Namespace, World], dict]
) -> int:
    """Train in this process of the world; an error is one sentence on stderr and exit code 1."""
    world = World()
    try:
        world = join("cuda" if torch.cuda.is_available() else "cpu")
        metrics = train(args, world)
    except VlaError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        can = is_checkpoint(args.out)
        what = f"go on with --resume, from the checkpoint in {args.out}" if can else "nothing saved"
        print(f"stopped; {what}", file=sys.stderr)
        return 130
    finally:
        leave(world)
    if metrics and world.is_first:
        print(f"{args.out}: {closing_line(metrics)}")
    return 0


def require_other_folder(out: Path, start: str | None) -> None:
    """Raise CheckpointError where a run would replace what it starts from."""
    if start is not None and Path(start).resolve() == out.resolve():
        raise CheckpointError(
            f"--out {out} is what the run starts from and would be replaced; give another folder"
        )


def run_stage(stage: Stage, stop_after: int | None = None) -> dict:
    """Train to the end and return the content of metrics.json; {} for a dry run.

    Args:
        stage: the run.
        stop_after: steps after which to save and end as if interrupted (tests).

    Raises:
        VlaError: the run to resume is another one or damaged, training diverges, or the disk
            refuses.
    """
    args, config, world = stage.args, stage.job.config, stage.job.world
    if args.dry_run:
        cost = measure(stage.job)
        if world.is_first:
            print(cost)
        return {}
    progress, metrics = Progress(), dict[str, Any](val_curve=[])
    if args.resume:
        progress, metrics = _go_on(stage)
    first_step = progress.step
    if first_step == config.steps:
        return metrics
    batches = Ahead(stage.job.micro_batches, min(config.steps, stop_after or config.steps))
    job = replace(stage.job, micro_batches=batches)

    def evaluate(step: int) -> None:
        if world.is_first:
            held_out = _evaluate(stage)
            metrics.update(held_out.metrics)
            metrics["val_curve"].append({"step": step, "loss": metrics["val_loss"]})
            _log(log, step, held_out)

    def save(progress: Progress) -> None:
        steps = progress.step - first_step
        metrics.update(
            {name: stage.facts[name] for name in ("stage", "recipe", "seed")},
            steps=progress.step,
            step_ms=1000 * (progress.seconds - batches.waited_s) / steps,
            loader_ms=1000 * batches.waited_s / steps,
            num_parameters=num_parameters(job.policy),
            train_curve=[{"step": step, "loss": loss} for step, loss in progress.curve],
        )
        _save(stage, progress, metrics)

    log = _event_log(args, first_step) if world.is_first else None
    try:
        run(job, progress, save, log, evaluate, stop_after)
    finally:
        batches.close()
        if log is not None:
            log.close()
    return metrics


def _evaluate(stage: Stage) -> HeldOut:
    if stage.job.ema is None:
        return stage.evaluate()
    with stage.job.ema.in_place():
        return stage.evaluate()


def _log(log: EventLog | None, step: int, held_out: HeldOut) -> None:
    assert log is not None
    numbers = {n: v for n, v in held_out.metrics.items() if isinstance(v, float)}
    log.scalars(step, {f"held_out/{n.removeprefix('val_')}": v for n, v in numbers.items()})
    if held_out.picture is not None:
        log.picture(step, "held_out/predictions", held_out.picture)


def _event_log(args: argparse.Namespace, step: int) -> EventLog:
    """Return the log in OUT.events; a new run there replaces the curves of an older one."""
    folder = args.out.with_name(f"{args.out.name}.events")
    if step == 0:
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
    return EventLog(folder, step)


def _save(stage: Stage, progress: Progress, metrics: dict) -> None:
    job = stage.job
    files = {METRICS_FILE: (json.dumps(metrics, indent=2) + "\n").encode()}
    if progress.step < job.config.steps:
        files[STATE_FILE] = run_state(job, progress)
    document = {
        **stage.facts,
        "steps_done": progress.step,
        "weights": "as trained" if job.ema is None else f"averaged, decay {job.ema.decay:g}",
        "torch": torch.__version__,
        "code_version": code_version(),
    }
    checkpoint = Checkpoint(
        cast(Any, job.policy), stage.contract, document, stage.normalizer, stage.source
    )
    save_checkpoint(checkpoint, stage.args.out, files, job.ema and job.ema.weights())


def _go_on(stage: Stage) -> tuple[Progress, dict]:
    """Put the run in OUT into the job; return its progress and its metrics.

    Raises:
        CheckpointError: it is another run, or damaged.
    """
    out = stage.args.out
    found = _read(out / RUN)
    different = _differences(found, json.loads(json.dumps(stage.facts)))
    if different:
        raise CheckpointError(
            f"checkpoint {out} belongs to another run ({', '.join(different)} differ); "
            "resume with the same options, or give another --out"
        )
    metrics = _read(out / METRICS_FILE)
    if found["steps_done"] == stage.job.config.steps:
        return Progress(stage.job.config.steps), metrics
    try:
        state = (out / STATE_FILE).read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"{out / STATE_FILE} cannot be read ({error.strerror}); start this run again without "
            "--resume"
        ) from None
    return resume(stage.job, state), metrics


def _differences(found: Any, wanted: dict, name: str = "") -> list[str]:
    """Return the names of what differs, such as "config.steps"."""
    if not isinstance(found, dict):
        return [name]
    names = []
    for key, value in wanted.items():
        path = f"{name}.{key}" if name else key
        if isinstance(value, dict):
            names += _differences(found.get(key), value, path)
        elif found.get(key) != value:
            names.append(path)
    return names


def _read(path: Path) -> dict:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is missing or damaged ({type(error).__name__}); start this run again without "
            "--resume"
        ) from None


def closing_line(metrics: dict) -> str:
    """Return one line on what a run reached."""
    return (
        f"held-out loss {metrics['val_loss']:.4f}, constant prediction "
        f"{metrics['val_constant_loss']:.4f}; {metrics['steps']} steps of "
        f"{metrics['step_ms']:.0f} ms and {metrics['loader_ms']:.1f} ms of loading, "
        f"{metrics['num_parameters'] / 1e6:.2f} M parameters"
    )
