"""APT Stage 2, the expert learns what to do: new layers that see language, between the old ones.

    python -m training.stage2_apt --data data/demos --init ckpt/apt1 --out ckpt/apt2
    python -m training.stage2_apt --data data/demos --init ckpt/apt1 --vlm full --out ckpt/apt2
    python -m training.stage2_apt --data data/demos --init none --backbone ckpt/vlm --out ckpt/one

Loss and chunks are those of Stage 1 (arXiv 2606.12366 and the authors' code). Everything of Stage 1
is carried over and trains on; `--released-loader` carries over attention blocks only, as the
authors' loader does. The backbone stays frozen, gets adapters (`--vlm lora`) or trains whole
(`full`); `insulated` is the paper's knowledge insulation: no gradient from the expert, and as there
is no other loss, the same as frozen. `--language token_insertion` is the paper's baseline without
new layers. `--init none` trains the whole expert in a single stage; otherwise `--style` and
`--fusion` are those of Stage 1.

Takes, by rule, demonstrations that were judged a success; with --kinds, successes of these kinds.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from training.learning import stage_script
from training.learning.apt_data import apt_data
from training.learning.apt_recipes import RECIPES, AptRecipe, styled
from training.learning.apt_stage import (
    TUNINGS,
    apt_arguments,
    run_apt,
    tune_backbone,
    warn_of_random_backbone,
)
from training.learning.backbones import make_backbone
from training.learning.processes import World
from vla_ros.core.errors import CheckpointError
from vla_ros.policy.apt.policy import AptPolicy
from vla_ros.policy.checkpoint import load_checkpoint

NAME = "training.stage2_apt"


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the command line's settings."""
    parser = apt_arguments(NAME, __doc__)
    parser.add_argument("--init", required=True, help="Stage 1 checkpoint, or none")
    parser.add_argument(
        "--vlm", choices=tuple(TUNINGS), default="frozen", help="how much of the backbone trains"
    )
    parser.add_argument(
        "--released-loader",
        action="store_true",
        help="take attention blocks alone from Stage 1, as the authors' loader does",
    )
    return parser.parse_args(argv)


def train(
    args: argparse.Namespace, world: World | None = None, stop_after: int | None = None
) -> dict:
    """Run the stage and return its metrics; `stop_after` steps ends as if interrupted (tests)."""
    world = world or World()
    recipe = stage_script.begin(args, world, RECIPES, args.backbone or args.init, "apt", stage=2)
    begin = _from_scratch if args.init == "none" else _from_stage_1
    return begin(args, world, recipe, stop_after)


def _from_stage_1(
    args: argparse.Namespace, world: World, recipe: AptRecipe, stop_after: int | None
) -> dict:
    stage_script.require_not_given(args, "backbone", "style", "fusion", "cameras")
    start = load_checkpoint(Path(args.init), device=world.device, backbone=recipe.qwen)
    first = start.policy
    if not isinstance(first, AptPolicy) or first.config.stage != 1:
        raise CheckpointError(
            f"{args.init} is a checkpoint of {start.method} of stage {start.run.get('stage')}; "
            "give one that training.stage1_apt wrote"
        )
    apt = replace(
        first.config,
        stage=2,
        language=args.language or first.config.language,
        vlm=TUNINGS[args.vlm],
        inserted_init=recipe.apt.inserted_init,
        inserted_gate=recipe.apt.inserted_gate,
        open_above=recipe.apt.open_above,
    )
    recipe = replace(recipe, apt=apt)
    source = tune_backbone(first.vlm, start.source, args.vlm)
    policy = first.second_stage(apt, args.released_loader)
    data = apt_data(
        args.data,
        recipe,
        policy.vlm.image_size,
        start=start,
        kinds=args.kinds,
        weights=args.weights,
    )
    facts = {"init": start.run, "vlm": args.vlm, "released_loader": args.released_loader}
    return run_apt(args, world, recipe, data, policy, facts, source, stop_after)


def _from_scratch(
    args: argparse.Namespace, world: World, recipe: AptRecipe, stop_after: int | None
) -> dict:
    apt = styled(recipe.apt, args.style, args.language, args.fusion)
    recipe = replace(recipe, apt=replace(apt, vlm=TUNINGS[args.vlm]))
    backbone = make_backbone(args.backbone, recipe.small, recipe.qwen, world.device)
    warn_of_random_backbone(backbone.is_fresh, args.vlm, world)
    source = tune_backbone(backbone.vlm, backbone.source, args.vlm)
    cameras = None if args.cameras is None else tuple(args.cameras)
    data = apt_data(
        args.data,
        recipe,
        backbone.vlm.image_size,
        cameras,
        kinds=args.kinds,
        weights=args.weights,
    )
    policy = AptPolicy(backbone.vlm, recipe.apt)
    facts = {"init": None, "backbone": backbone.facts, "vlm": args.vlm}
    return run_apt(args, world, recipe, data, policy, facts, source, stop_after)


def main(argv: list[str] | None = None) -> int:
    """Train as the command line says; an error is one sentence on stderr and exit code 1."""
    return stage_script.main(NAME, parse_arguments(argv), train)


if __name__ == "__main__":
    sys.exit(main())
