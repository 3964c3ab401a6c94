"""TAP Stage 2, behaviour cloning on demonstrations: which action does the instruction ask for?

    python -m training.stage2_tap --data data/demos --init ckpt/stage1 --out ckpt/stage2
    python -m training.stage2_tap --data data/demos --init none --out ckpt/scratch
    python -m training.stage2_tap --data data/demos --init none --backbone ckpt/vlm --out ckpt/bc
    python -m training.stage2_tap --data data/demos --init ckpt/stage1 --frozen --out ckpt/frozen

a_t = f(o_t, instruction), the same network and loss as Stage 1 (arXiv 2607.02466, equations 4 and
5): the second picture gives way to the text, and nothing new is initialised; everything trains.
`--init none` is the paper's control, the same network without Stage 1. `--frozen` is another one:
the features stay those of Stage 1, and the head alone trains: the MLP, or the rows of the action
tokens.

Takes, by rule, demonstrations that were judged a success; with --kinds, successes of these kinds.
Failures go to Stage 1.

Action tokens are those of Stage 1, since the rows of the vocabulary are. The action scale is fitted
on the demonstrations, as the authors' code does for each dataset; the recipe's `keep_normalizer`
keeps that of Stage 1.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from training.learning import stage_script
from training.learning.backbones import make_backbone
from training.learning.processes import World
from training.learning.tap_data import stage_2_data
from training.learning.tap_recipes import RECIPES, TapRecipe
from training.learning.tap_stage import action_tokens, freeze_features, run_tap, tap_arguments
from vla_ros.core.errors import CheckpointError, VlaError
from vla_ros.policy.checkpoint import load_checkpoint
from vla_ros.policy.tap import TapPolicy

NAME = "training.stage2_tap"


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the command line's settings."""
    parser = tap_arguments(NAME, __doc__)
    parser.add_argument("--init", required=True, help="Stage 1 checkpoint, or none")
    parser.add_argument(
        "--frozen", action="store_true", help="keep the features of Stage 1, train the head alone"
    )
    return parser.parse_args(argv)


def train(
    args: argparse.Namespace, world: World | None = None, stop_after: int | None = None
) -> dict:
    """Run the stage and return its metrics; `stop_after` steps ends as if interrupted (tests)."""
    world = world or World()
    recipe = stage_script.begin(args, world, RECIPES, args.backbone or args.init, "tap", stage=2)
    begin = _from_scratch if args.init == "none" else _from_stage_1
    return begin(args, world, recipe, stop_after)


def _from_stage_1(
    args: argparse.Namespace, world: World, recipe: TapRecipe, stop_after: int | None
) -> dict:
    stage_script.require_not_given(args, "backbone", "head", "action_tokens")
    start = load_checkpoint(Path(args.init), device=world.device, backbone=recipe.qwen)
    if not isinstance(start.policy, TapPolicy):
        raise CheckpointError(
            f"{args.init} is a checkpoint of {start.method}; give one that training.stage1_tap "
            "wrote"
        )
    policy = start.policy.second_stage()
    recipe = replace(recipe, tap=policy.config)
    if args.frozen:
        recipe = freeze_features(policy, recipe)
    data = stage_2_data(args.data, recipe, policy.vlm.image_size, start, args.kinds, args.weights)
    # None, not False: as in a run.json from before this option, which can be gone on with.
    facts = {"init": start.run, "frozen": args.frozen or None}
    return run_tap(args, world, recipe, data, policy, facts, start.source, stop_after)


def _from_scratch(
    args: argparse.Namespace, world: World, recipe: TapRecipe, stop_after: int | None
) -> dict:
    if args.frozen:
        raise VlaError(
            "--frozen keeps the features of Stage 1, and --init none has none; give --init a "
            "checkpoint of training.stage1_tap, or leave --frozen away"
        )
    backbone = make_backbone(args.backbone, recipe.small, recipe.qwen, world.device)
    recipe = replace(recipe, tap=replace(recipe.tap, head=args.head or recipe.tap.head))
    data = stage_2_data(args.data, recipe, backbone.vlm.image_size, None, args.kinds, args.weights)
    policy = TapPolicy(backbone.vlm, recipe.tap, action_tokens(args, recipe, data))
    facts = {"init": None, "backbone": backbone.facts}
    return run_tap(args, world, recipe, data, policy, facts, backbone.source, stop_after)


def main(argv: list[str] | None = None) -> int:
    """Train as the command line says; an error is one sentence on stderr and exit code 1."""
    return stage_script.main(NAME, parse_arguments(argv), train)


if __name__ == "__main__":
    sys.exit(main())
