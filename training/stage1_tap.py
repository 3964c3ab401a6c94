"""TAP Stage 1, inverse dynamics on play: which action lies between two pictures? No text.

    python -m training.stage1_tap --data data/play --out ckpt/stage1
    python -m training.stage1_tap --data data/play --out /tmp/s1 --recipe tiny     # two steps

a_t = f(o_t, o_t+1), mean squared error on normalised reached displacements (arXiv 2607.02466,
equations 2 and 3). Takes play, and what policies did, whether or not it succeeded. The paper
freezes its pretrained vision tower here; ours starts from scratch, so it trains
(`TapPolicy.set_stage`).
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
    Pairs,
    next_frame_pairs,
    open_dataset,
    pairs_within,
    select_episodes,
    split_episodes,
)
from training.recipes import RECIPES, recipe
from vla_ros.core.errors import VlaError
from vla_ros.policy.checkpoint import require_replaceable
from vla_ros.policy.normalize import Normalizer
from vla_ros.policy.preprocess import images_to_tensor
from vla_ros.policy.tap import TapPolicy


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the command line's settings."""
    parser = argparse.ArgumentParser(
        prog="training.stage1_tap",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, help="dataset of training.convert")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint folder to write")
    parser.add_argument("--recipe", choices=RECIPES, default="small", help="named settings")
    parser.add_argument("--steps", type=int, help="optimiser steps; the recipe's if not given")
    parser.add_argument("--seed", type=int, default=0, help="of weights, batches and the split")
    parser.add_argument("--kinds", nargs="+", default=["play", "policy"], help="episodes to take")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    return parser.parse_args(argv)


def train(args: argparse.Namespace, stop_after: int | None = None) -> dict:
    """Run the stage and return its metrics; `stop_after` steps ends as if interrupted (tests)."""
    config = recipe(args.recipe, stage=1)
    config = replace(config, steps=args.steps or config.steps)
    require_replaceable(args.out)

    dataset = open_dataset(args.data, config.model.backbone.image_size)
    episodes = select_episodes(dataset, args.kinds, only_solved=False)
    trained, held_out = split_episodes(episodes, config.val_fraction, args.seed)
    train_pairs = next_frame_pairs(dataset, trained)
    val_pairs = next_frame_pairs(dataset, held_out)
    normalizer = Normalizer.fit(train_pairs.actions)
    constant = normalizer.apply(train_pairs.actions).mean(0)
    if config.pair_span > 0:
        bounds = (normalizer.low, normalizer.high)
        train_pairs = pairs_within(dataset, trained, config.pair_span, *bounds)

    def make_batch(
        pairs: Pairs, chosen: np.ndarray, rng: np.random.Generator | None = None
    ) -> steps.Batch:
        frames = np.stack([pairs.first[chosen], pairs.second[chosen]], axis=1)
        pictures = dataset.images[frames]  # (B, 2, S, S, 3)
        if rng is not None:
            pictures = steps.shift_images(pictures, config.shift_px, rng)
        target = torch.from_numpy(normalizer.apply(pairs.actions[chosen]))
        return images_to_tensor(pictures), None, target

    torch.manual_seed(args.seed)
    policy = TapPolicy(config.model)
    policy.set_stage(1)
    optimizer = steps.make_optimizer(policy, config)
    facts = {
        "stage": 1,
        "recipe": args.recipe,
        "config": config.to_dict(),
        "seed": args.seed,
        "data": {"name": args.data.name, "sha256": dataset.sha256, "kinds": args.kinds},
    }
    run = steps.Run(args.out, config, dataset.contract, normalizer, facts)
    progress = run.resume(policy, optimizer) if args.resume else steps.Progress()
    val_batches = steps.eval_batches(
        np.arange(len(val_pairs)), lambda chosen: make_batch(val_pairs, chosen)
    )
    print(
        f"Stage 1: {len(train_pairs)} pairs of {len(trained)} episodes, {len(val_pairs)} pairs "
        f"held out; {config.steps} steps of {config.batch_size}"
    )
    metrics: dict = {}
    bar = tqdm(total=config.steps, initial=progress.step, desc="stage 1", unit="step")
    with bar:
        while progress.step < min(config.steps, stop_after or config.steps):
            chosen = steps.batch_indices(len(train_pairs), progress.step, config, args.seed)
            rng = np.random.default_rng([args.seed, 2, progress.step])
            batch = make_batch(train_pairs, chosen, rng)
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
        print(f"training.stage1_tap: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"stopped; go on with --resume, from the checkpoint in {args.out}", file=sys.stderr)
        return 130
    print(f"{args.out}: {steps.closing_line(metrics)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
