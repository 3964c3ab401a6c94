"""TAP Stage 1, inverse dynamics on play: which action lies between two pictures? No text.

    python -m training.stage1_tap --data data/play --out ckpt/stage1
    python -m training.stage1_tap --data data/play data/rollouts --weights 3 1 --out ckpt/stage1
    python -m training.stage1_tap --data data/play --out /tmp/s1 --recipe tiny     # two steps

a_t = f(o_t, o_t+1), mean squared error on normalised reached displacements (arXiv 2607.02466,
equations 2 and 3). Takes, by rule, play and policy episodes whatever their outcome, and
demonstrations that failed: what happened between two pictures is true either way. With --kinds, all
episodes of these kinds. Labels are the measured motion, whatever label the dataset was converted
with. The paper freezes its pretrained vision tower here; ours starts from scratch, so it trains
(`TapPolicy.set_stage`).
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from training.learning import steps
from training.learning.recipes import RECIPES, recipe
from training.learning.tap_data import TapBatch, stage_1_data
from vla_ros.core.errors import VlaError
from vla_ros.policy.checkpoint import require_replaceable
from vla_ros.policy.tap import TapPolicy


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the command line's settings."""
    parser = argparse.ArgumentParser(
        prog="training.stage1_tap",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--data", type=Path, nargs="+", required=True, help="datasets of training.convert"
    )
    parser.add_argument(
        "--weights", type=float, nargs="+", help="share of each in the batches; else by size"
    )
    parser.add_argument("--out", type=Path, required=True, help="checkpoint folder to write")
    parser.add_argument("--recipe", choices=RECIPES, default="small", help="named settings")
    parser.add_argument("--steps", type=int, help="optimiser steps; the recipe's if not given")
    parser.add_argument("--seed", type=int, default=0, help="of weights, batches and the split")
    parser.add_argument("--kinds", nargs="+", help="episodes to take; else by the rule above")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    return parser.parse_args(argv)


def train(args: argparse.Namespace, stop_after: int | None = None) -> dict:
    """Run the stage and return its metrics; `stop_after` steps ends as if interrupted (tests)."""
    config = recipe(args.recipe, stage=1)
    config = replace(config, steps=args.steps or config.steps)
    require_replaceable(args.out)

    data = stage_1_data(args.data, config, args.seed, args.kinds, args.weights)
    sampler = data.sampler(config, args.seed)

    def next_batch() -> TapBatch:
        return data.batch(config, sampler, progress.step, args.seed)

    torch.manual_seed(args.seed)
    policy = TapPolicy(config.model)
    policy.set_stage(1)
    optimizer = steps.make_optimizer(policy, config)
    facts = {
        "stage": 1,
        "recipe": args.recipe,
        "config": config.to_dict(),
        "seed": args.seed,
        "data": data.facts,
        "kinds": args.kinds,
        "weights": args.weights,
    }
    run = steps.Run(args.out, config, data.contract, data.normalizer, facts)
    progress = run.resume(policy, optimizer) if args.resume else steps.Progress()
    val_batches = steps.eval_batches(
        np.arange(len(data.held_out)), lambda chosen: data.tensors(data.held_out.batch(chosen))
    )
    print(
        f"Stage 1: {len(data.trained)} pairs of {data.num_episodes} episodes, "
        f"{len(data.held_out)} pairs held out; {config.steps} steps of {config.batch_size}"
    )
    metrics: dict = {}
    bar = tqdm(total=config.steps, initial=progress.step, desc="stage 1", unit="step")
    with bar:
        while progress.step < min(config.steps, stop_after or config.steps):
            loss = steps.advance(progress, policy, optimizer, next_batch, config)
            bar.update()
            bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
            if steps.is_eval_step(progress.step, config) or progress.step == stop_after:
                predicted, target = steps.predict(policy, val_batches, config.bf16)
                result = steps.held_out_metrics(predicted, target, data.constant, data.normalizer)
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
