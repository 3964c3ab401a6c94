"""APT Stage 1, the action expert as a vision-to-action model: language masked, backbone frozen.

    python -m training.stage1_apt --data data/play --backbone ckpt/vlm --out ckpt/apt1
    python -m training.stage1_apt --data data/play data/demos --kinds play demo \
        --backbone ckpt/vlm --out ckpt/apt1
    python -m training.stage1_apt --data data/play --out /tmp/a1 --recipe tiny     # two steps
    torchrun --nproc-per-node 4 --shutdown-timeout 600 -m training.stage1_apt \
        --data data/play --recipe qwen --backbone Qwen/Qwen3-VL-2B-Instruct --out ckpt/apt1

The noise in chunks of 32 future tool poses, in a camera's axes, from the pictures of one moment, by
diffusion and weighted L1 (arXiv 2606.12366 and the authors' code). The expert has half of its
layers; `--style pi` and `groot` are the paper's other two, in the two stages likewise. `--fusion
paper` has the paper's gate, equation 3, where its code has another.

Takes, by rule, play and policy episodes whatever their outcome, and demonstrations that failed.
With --kinds, all episodes of these kinds: the authors pretrain on the demonstrations themselves.
Cameras need intrinsics and a pose (`training.hand_eye`). Where pictures stay as they are, what the
backbone makes of them is computed once.
"""

import argparse
import sys
from dataclasses import replace

from training.learning import stage_script
from training.learning.apt_data import apt_data
from training.learning.apt_recipes import RECIPES, styled
from training.learning.apt_stage import apt_arguments, run_apt, warn_of_random_backbone
from training.learning.backbones import make_backbone
from training.learning.processes import World
from vla_ros.policy.apt.policy import AptPolicy

NAME = "training.stage1_apt"


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the command line's settings."""
    return apt_arguments(NAME, __doc__).parse_args(argv)


def train(
    args: argparse.Namespace, world: World | None = None, stop_after: int | None = None
) -> dict:
    """Run the stage and return its metrics; `stop_after` steps ends as if interrupted (tests)."""
    world = world or World()
    recipe = stage_script.begin(args, world, RECIPES, args.backbone, "apt", stage=1)
    recipe = replace(recipe, apt=styled(recipe.apt, args.style, args.language, args.fusion))
    backbone = make_backbone(args.backbone, recipe.small, recipe.qwen, world.device)
    warn_of_random_backbone(backbone.is_fresh, "frozen", world)
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
    facts = {"backbone": backbone.facts}
    return run_apt(args, world, recipe, data, policy, facts, backbone.source, stop_after)


def main(argv: list[str] | None = None) -> int:
    """Train as the command line says; an error is one sentence on stderr and exit code 1."""
    return stage_script.main(NAME, parse_arguments(argv), train)


if __name__ == "__main__":
    sys.exit(main())
