"""What every stage script shares: its command line, how a run begins, and how it ends."""

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch

from training.learning.engine_config import EngineConfig
from training.learning.memory import keep_freed_memory
from training.learning.processes import World, join, leave
from training.learning.stage_files import require_no_loss
from training.learning.stop import StoppedError
from vla_ros.core.errors import CheckpointError, VlaError
from vla_ros.policy.checkpoint import RUN, require_replaceable
from vla_ros.policy.checkpoint_folder import tidy_folder

Recipe = TypeVar("Recipe", bound=EngineConfig)


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
    add_resuming(parser)
    add("--dry-run", action="store_true", help="tell parameters, memory and speed, then stop")
    return parser


def add_resuming(parser: argparse.ArgumentParser) -> None:
    """Add what is to become of a run that is in --out."""
    again = parser.add_mutually_exclusive_group().add_argument
    again("--resume", action="store_true", help="go on with the run in --out, as Ctrl-C left it")
    again("--overwrite", action="store_true", help="replace the run in --out")


def main(
    name: str,
    args: argparse.Namespace,
    train: Callable[[argparse.Namespace, World], dict],
    tell: Callable[[dict], str] | None = None,
) -> int:
    """Train in this process of the world; an error is one sentence on stderr and exit code 1.

    Stopped by a signal, the exit code is the shell's for it. `tell` makes the last words of the
    metrics.
    """
    world, before = World(), _stamp(args.out)
    keep_freed_memory()
    try:
        world = join("cuda" if torch.cuda.is_available() else "cpu")
        metrics = train(args, world)
    except VlaError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except (StoppedError, KeyboardInterrupt) as stop:
        if world.is_first:
            print(_stopped(args, stop, _stamp(args.out) != before), file=sys.stderr)
        return 128 + stop.number if isinstance(stop, StoppedError) else 130
    finally:
        leave(world)
    if metrics and world.is_first:
        print(f"{args.out}: {(tell or closing_line)(metrics)}")
    return 0


def _stamp(out: Path) -> int | None:
    """Return what changes when `out` is written."""
    return (out / RUN).stat().st_mtime_ns if (out / RUN).exists() else None


def _stopped(args: argparse.Namespace, stop: BaseException, has_saved: bool) -> str:
    if isinstance(stop, StoppedError):
        what = f"after step {stop.step}, which is saved: go on with --resume"
    elif has_saved:
        what = "at once: go on with --resume, from the last checkpoint"
    else:
        what = "before anything was saved"
        what += f"; {args.out} is as it was" if args.out.exists() else ""
        what += ": go on with --resume" if args.resume else ""
    return f"{args.out}: stopped {what}"


def begin(
    args: argparse.Namespace,
    world: World,
    recipes: Mapping[str, Callable[[int], Recipe]],
    start: str | None,
    method: str,
    stage: int,
) -> Recipe:
    """Return the recipe that the command line names, once --out may be written; seed torch.

    Args:
        args, world: of this process.
        recipes: of the stage's method, by name.
        start: folder that the run starts from, if any.
        method, stage: of the run.

    Raises:
        CheckpointError: --out is no checkpoint, what the run starts from, or a run that would be
            lost.
    """
    if world.is_first and not args.dry_run:
        tidy_folder(args.out)
    world.wait()
    require_replaceable(args.out)
    if start is not None and Path(start).resolve() == args.out.resolve():
        raise CheckpointError(
            f"--out {args.out} is what the run starts from and would be replaced; give another "
            "folder"
        )
    if not args.dry_run:
        require_no_loss(args, method=method, stage=stage)
    torch.manual_seed(args.seed)
    recipe = recipes[args.recipe](stage)
    return replace(recipe, steps=args.steps or recipe.steps)


def require_not_given(args: argparse.Namespace, *names: str) -> None:
    """Raise VlaError where an option is given that --init decides."""
    own = [name.replace("_", " ") for name in names if getattr(args, name) is not None]
    if own:
        raise VlaError(
            f"--init {args.init} brings its own {', '.join(own)}; leave the option away, or start "
            "by --init none"
        )


def closing_line(metrics: dict) -> str:
    """Return one line on what a run reached."""
    return (
        f"held-out loss {metrics['val_loss']:.4f}, constant prediction "
        f"{metrics['val_constant_loss']:.4f}; {metrics['steps']} steps of "
        f"{metrics['step_ms']:.0f} ms and {metrics['loader_ms']:.1f} ms of loading, "
        f"{metrics['num_parameters'] / 1e6:.2f} M parameters"
    )
