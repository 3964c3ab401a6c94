"""TAP Stage 2, behaviour cloning on demonstrations: which action does the instruction ask for?

    python -m training.stage2_tap --data data/demos --init ckpt/stage1 --out ckpt/stage2
    python -m training.stage2_tap --data data/demos --init none --out ckpt/scratch

a_t = f(o_t, instruction), the same network and loss as Stage 1 (arXiv 2607.02466, equations 4 and
5): the second picture gives way to the text, and nothing new is initialised. `--init none` is the
paper's control, the same network without Stage 1. Takes demonstrations that were
judged a success.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from training import steps
from training.dataset import (
    frame_indices,
    open_dataset,
    select_episodes,
    split_episodes,
    task_of_frame,
)
from training.recipes import RECIPES, recipe
from vla_ros.core.errors import VlaError
from vla_ros.policy.checkpoint import load_checkpoint, require_replaceable
from vla_ros.policy.normalize import Normalizer
from vla_ros.policy.preprocess import images_to_tensor
from vla_ros.policy.tap import TapPolicy


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the command line's settings."""
    parser = argparse.ArgumentParser(
        prog="training.stage2_tap",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, help="dataset of training.convert")
    parser.add_argument("--init", required=True, help="Stage 1 checkpoint, or none")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint folder to write")
    parser.add_argument("--recipe", choices=RECIPES, default="small", help="named settings")
    parser.add_argument("--steps", type=int, help="optimiser steps; the recipe's if not given")
    parser.add_argument("--seed", type=int, default=0, help="of weights, batches and the split")
    parser.add_argument("--kinds", nargs="+", default=["demo"], help="episodes to take")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    return parser.parse_args(argv)


def train(args: argparse.Namespace, stop_after: int | None = None) -> dict:
    """Run the stage and return its metrics; `stop_after` steps ends as if interrupted (tests)."""
    config = recipe(args.recipe, stage=2)
    config = replace(config, steps=args.steps or config.steps)
    require_replaceable(args.out)

    start = None if args.init == "none" else load_checkpoint(Path(args.init))
    model = config.model if start is None else start.policy.config
    dataset = open_dataset(args.data, model.backbone.image_size)
    if start is not None:
        dataset.contract.require_match(start.contract, f"checkpoint {args.init}")
    episodes = select_episodes(dataset, args.kinds, only_solved=True)
    trained, held_out = split_episodes(episodes, config.val_fraction, args.seed)
    train_frames, val_frames = frame_indices(trained), frame_indices(held_out)
    normalizer = Normalizer.fit(dataset.actions[train_frames])
    if start is not None and config.keep_normalizer:
        normalizer = start.normalizer
    actions = normalizer.apply(dataset.actions)
    constant = actions[train_frames].mean(0)
    tasks = task_of_frame(dataset)

    def make_batch(frames: np.ndarray, rng: np.random.Generator | None = None) -> steps.Batch:
        pictures = dataset.images[frames][:, None]  # (B, 1, S, S, 3)
        if rng is not None:
            pictures = steps.shift_images(pictures, config.shift_px, rng)
        text = list(tasks[frames])
        return images_to_tensor(pictures), text, torch.from_numpy(actions[frames])

    torch.manual_seed(args.seed)
    policy = TapPolicy(model)
    if start is not None:
        policy.load_state_dict(start.policy.state_dict())
    policy.set_stage(2)
    optimizer = steps.make_optimizer(policy, config)
    facts = {
        "stage": 2,
        "recipe": args.recipe,
        "config": config.to_dict(),
        "seed": args.seed,
        "init": None if start is None else start.run,
        "data": {"name": args.data.name, "sha256": dataset.sha256, "kinds": args.kinds},
    }
    run = steps.Run(args.out, config, dataset.contract, normalizer, facts)
    progress = run.resume(policy, optimizer) if args.resume else steps.Progress()
    val_batches = steps.eval_batches(val_frames, make_batch)
    print(
        f"Stage 2: {len(train_frames)} frames of {len(trained)} episodes, {len(val_frames)} frames "
        f"held out; {config.steps} steps of {config.batch_size}"
    )
    metrics: dict = {}
    bar = tqdm(total=config.steps, initial=progress.step, desc="stage 2", unit="step")
    with bar:
        while progress.step < min(config.steps, stop_after or config.steps):
            chosen = steps.batch_indices(len(train_frames), progress.step, config, args.seed)
            rng = np.random.default_rng([args.seed, 2, progress.step])
            batch = make_batch(train_frames[chosen], rng)
            loss = steps.advance(progress, policy, optimizer, batch, config)
            bar.update()
            bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
            if steps.is_eval_step(progress.step, config) or progress.step == stop_after:
                predicted, target = steps.predict(policy, val_batches, config.bf16)
                result = steps.held_out_metrics(predicted, target, constant, normalizer)
                progress.val_curve.append({"step": progress.step, "loss": result["val_loss"]})
                is_final = progress.step == config.steps
                metrics = run.save(policy, optimizer, progress, result, is_final)
    return metrics or steps.read_metrics(args.out)


def main(argv: list[str] | None = None) -> int:
    """Train as the command line says; an error is one sentence on stderr and exit code 1."""
    args = parse_arguments(argv)
    try:
        metrics = train(args)
    except VlaError as error:
        print(f"training.stage2_tap: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"stopped; go on with --resume, from the checkpoint in {args.out}", file=sys.stderr)
        return 130
    print(f"{args.out}: {steps.closing_line(metrics)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
