"""What APT's two stage scripts share: command line, how much of the backbone trains, the run."""

import argparse
import os
import shutil
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from training.learning.apt_batches import AptBatch, Batches
from training.learning.apt_data import AptData, chunk_statistics
from training.learning.apt_eval import HeldOutError
from training.learning.apt_features import frozen_features
from training.learning.apt_recipes import FUSIONS, RECIPES, STYLES, AptRecipe
from training.learning.engine import PartLoss, make_job
from training.learning.processes import World
from training.learning.stage import Stage, run_stage
from training.learning.stage_script import common_arguments
from vla_ros.core.errors import CheckpointError
from vla_ros.policy.apt.policy import AptPolicy
from vla_ros.policy.backbone_description import HubSource
from vla_ros.policy.small_vlm import SmallVlm
from vla_ros.policy.vlm import VisionLanguageModel

# How much of the backbone trains in Stage 2, and what `AptConfig.vlm` is for it.
TUNINGS = {"frozen": "frozen", "insulated": "insulated", "lora": "trained", "full": "trained"}


def apt_arguments(name: str, description: str | None) -> argparse.ArgumentParser:
    """Return a parser of what both stages take."""
    parser = common_arguments(name, description, RECIPES)
    add = parser.add_argument
    add("--cameras", nargs="+", help="to be seen, the reference at run time first; else all")
    add("--style", choices=STYLES, help="of the expert; else the recipe's")
    add("--fusion", choices=FUSIONS, help="form of style apt's gates; else the recipe's")
    add(
        "--language",
        choices=("inserted_layers", "token_insertion"),
        help="how it enters in Stage 2: by new layers, or by the layers of Stage 1 losing their "
        "mask; else the style's own way",
    )
    add(
        "--compile",
        action="store_true",
        help="translate a step first (torch.compile, wants a C++ compiler): takes minutes once, "
        "then steps of a small expert on a CPU take six tenths of the time",
    )
    return parser


def tune_backbone(
    vlm: VisionLanguageModel, source: HubSource | None, tuning: str
) -> HubSource | None:
    """Let so much of the backbone train, in place; return what `source` is then.

    Args:
        vlm: frozen, or fresh.
        source: of a Qwen-VL.
        tuning: of TUNINGS.

    Raises:
        CheckpointError: the backbone cannot be tuned that way.
    """
    vlm.requires_grad_(tuning == "full")
    if TUNINGS[tuning] != "trained":
        return source
    if isinstance(vlm, SmallVlm):
        if tuning == "lora":
            raise CheckpointError(
                "the small backbone has no adapters; choose --vlm full, frozen or insulated"
            )
        return source
    from vla_ros.policy.qwen_tuning import QwenOptions, tune
    from vla_ros.policy.qwen_vlm import QwenVlm

    assert isinstance(vlm, QwenVlm)
    assert source is not None
    options = QwenOptions(**{**source.options, "tuning": tuning})
    tune(vlm, options)
    return replace(source, options=options.to_dict())


def run_apt(
    args: argparse.Namespace,
    world: World,
    recipe: AptRecipe,
    data: AptData,
    policy: AptPolicy,
    facts: dict,
    source: HubSource | None = None,
    stop_after: int | None = None,
) -> dict:
    """Train `policy` on `data` and return the metrics; see `run_stage`.

    Args:
        args, stop_after: see `run_stage`.
        world: of this process.
        recipe: with the policy's own switches.
        data, policy: of one stage.
        facts: provenance beyond what is named here.
        source: of a Qwen-VL.
    """
    if policy.guess is not None and facts.get("init") is None:
        policy.guess.fit(*chunk_statistics(data, recipe))
    policy = policy.to(world.device)
    if args.compile:
        _translate(policy)
    batches = Batches(data, recipe, args.seed, world)

    def groups() -> list[dict]:
        return policy.optimizer_groups(
            recipe.expert_lr,
            recipe.expert_decay,
            recipe.vlm_lr,
            recipe.vlm_decay,
            recipe.decay_gates,
        )

    job = make_job(policy, groups, batches, chunk_loss, recipe, world)

    def prepare() -> None:
        batches.features = frozen_features(policy, data, recipe, world)

    if args.dry_run:
        # A step as it will be, for the price of its own samples.
        batches.features = frozen_features(policy, data, recipe, world, batches.indices(0))
    facts = {"cameras": list(data.contract.cameras), "intrinsics": True, **facts}
    measure = HeldOutError(policy, data, recipe, world)
    stage = Stage(args, "apt", recipe, job, data, facts, measure, None, source, prepare)
    return run_stage(stage, stop_after)


def _translate(policy: AptPolicy) -> None:
    """Have the expert's part of a step compiled; backbones go over pictures in ways of their own.

    In place: names of weights stay, and what measures calls parts of the policy as they are.

    Raises:
        CheckpointError: there is no compiler.
    """
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise CheckpointError(
            f"--compile wants the C++ compiler {compiler}, which is not on the PATH; install it "
            "(apt install g++), or leave --compile away"
        )
    backbone: Any = policy.vlm
    backbone.forward = torch.compiler.disable(backbone.forward)
    policy.compile(dynamic=False)


def chunk_loss(model: nn.Module, batch: AptBatch) -> PartLoss:
    """Return the weighted error of the predicted noise, a mean over the steps of chunks."""
    found = model(*batch)
    shape = batch.chunks.shape[:3]
    count = float(shape.numel()) if batch.mask is None else batch.mask.sum()
    parts = {name: getattr(found, name) for name in ("translation", "rotation", "gripper")}
    return PartLoss(found.total, count, parts)


def warn_of_random_backbone(is_fresh: bool, tuning: str, world: World) -> None:
    """Say so where a backbone of random weights is to stay random."""
    if is_fresh and TUNINGS[tuning] != "trained" and world.is_first:
        print(
            "the backbone has random weights and does not train; give --backbone a folder of "
            "training.pretrain_vlm for one that sees"
        )
