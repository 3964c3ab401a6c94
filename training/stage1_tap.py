"""TAP Stage 1, inverse dynamics on play: which action lies between two pictures? No text.

    python -m training.stage1_tap --data data/play --out ckpt/stage1
    python -m training.stage1_tap --data data/play --backbone ckpt/vlm --out ckpt/stage1
    python -m training.stage1_tap --data data/play data/rollouts --weights 3 1 --out ckpt/stage1
    python -m training.stage1_tap --data data/play --out /tmp/s1 --recipe tiny     # two steps
    torchrun --nproc-per-node 8 --shutdown-timeout 600 -m training.stage1_tap \
        --data data/play --recipe qwen --backbone Qwen/Qwen2.5-VL-3B-Instruct \
        --action-tokens ~/fast --out ckpt/stage1

a_t = f(o_t, o_t+k) on measured displacements (the paper has k = 1), whatever label the dataset was
converted with; by action tokens and cross-entropy (the authors' code), or `--head mlp`, mean
squared error (the text, equations 2 and 3 of arXiv 2607.02466). `--condition vision` shows o_t
alone: behaviour cloning from vision on the same data, the control that the paper lacks.

Takes, by rule, play and policy episodes whatever their outcome, and demonstrations that failed:
what happened between two pictures is true either way. With --kinds, all episodes of these kinds.

The vision tower is frozen, as in the paper; from random weights it trains, or it would stay random.
"""

import argparse
import sys
from dataclasses import replace

from training.learning import stage_script
from training.learning.backbones import make_backbone
from training.learning.processes import World
from training.learning.tap_data import stage_1_data
from training.learning.tap_recipes import RECIPES
from training.learning.tap_stage import action_tokens, run_tap, tap_arguments
from vla_ros.policy.tap import TapPolicy

NAME = "training.stage1_tap"


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the command line's settings."""
    parser = tap_arguments(NAME, __doc__)
    parser.add_argument(
        "--condition",
        choices=("pair", "vision"),
        help="what the model is shown: both pictures, or the first alone; else the recipe's",
    )
    parser.add_argument(
        "--pair-offset",
        type=int,
        metavar="K",
        help="learn the motion from o_t to o_t+K; the paper has 1, else the recipe's",
    )
    return parser.parse_args(argv)


def train(
    args: argparse.Namespace, world: World | None = None, stop_after: int | None = None
) -> dict:
    """Run the stage and return its metrics; `stop_after` steps ends as if interrupted (tests)."""
    world = world or World()
    recipe = stage_script.begin(args, world, RECIPES, args.backbone, "tap", stage=1)
    backbone = make_backbone(args.backbone, recipe.small, recipe.qwen, world.device)
    tap = replace(
        recipe.tap,
        head=args.head or recipe.tap.head,
        condition=args.condition or recipe.tap.condition,
        frozen_vision="never" if backbone.is_fresh else recipe.tap.frozen_vision,
    )
    recipe = replace(recipe, tap=tap)
    if args.pair_offset is not None:
        recipe = replace(recipe, pair_offset=args.pair_offset)
    size = backbone.vlm.image_size
    data = stage_1_data(args.data, recipe, size, args.kinds, args.weights)
    policy = TapPolicy(backbone.vlm, tap, action_tokens(args, recipe, data))
    facts = {"backbone": backbone.facts}
    return run_tap(args, world, recipe, data, policy, facts, backbone.source, stop_after)


def main(argv: list[str] | None = None) -> int:
    """Train as the command line says; an error is one sentence on stderr and exit code 1."""
    return stage_script.main(NAME, parse_arguments(argv), train)


if __name__ == "__main__":
    sys.exit(main())
