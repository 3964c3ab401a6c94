"""What TAP's two stage scripts share: loss, held-out error, the run."""

import argparse
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from training.learning.engine import PartLoss, make_job
from training.learning.event_log import prediction_picture
from training.learning.precision import autocast
from training.learning.processes import World
from training.learning.stage import HeldOut, Stage, run_stage
from training.learning.stage_script import common_arguments
from training.learning.tap_data import TapBatch, TapData
from training.learning.tap_recipes import RECIPES, TapRecipe
from training.learning.windows import Samples
from vla_ros.policy.backbone_description import HubSource
from vla_ros.policy.fast_tokens import FastTokenizer
from vla_ros.policy.fast_universal import load_universal
from vla_ros.policy.normalize import Normalizer
from vla_ros.policy.small_vlm import SmallVlm
from vla_ros.policy.tap import TapPolicy

DIMENSIONS = ("dx", "dy", "dz", "drx", "dry", "drz", "gripper")
UNITS = ("m", "m", "m", "rad", "rad", "rad", "1 = open")
SHOWN = 6


def tap_arguments(name: str, description: str | None) -> argparse.ArgumentParser:
    """Return a parser of what both stages take."""
    parser = common_arguments(name, description, RECIPES)
    parser.add_argument(
        "--head", choices=("fast", "mlp"), help="action tokens, or a regression; else the recipe's"
    )
    parser.add_argument(
        "--action-tokens",
        help="folder of a published FAST tokenizer; else one is fitted on the data",
    )
    return parser


def action_tokens(
    args: argparse.Namespace, recipe: TapRecipe, data: TapData
) -> FastTokenizer | None:
    """Return the tokenizer for a model that starts here; None for the MLP head.

    Raises:
        VlaError: the folder of --action-tokens holds none.
    """
    if recipe.tap.head == "mlp":
        return None
    if args.action_tokens is not None:
        return load_universal(args.action_tokens, recipe.tap.horizon)
    return data.fit_tokens(recipe.vocabulary)


def freeze_features(policy: TapPolicy, recipe: TapRecipe) -> TapRecipe:
    """Freeze the backbone in place, but for the rows of action tokens; return the recipe for it.

    These rows are the FAST head's weights. The MLP head trains, and all of the backbone is frozen.

    Args:
        policy: of Stage 2, before `run_tap`.
        recipe: of the run.
    """
    policy.vlm.requires_grad_(False)
    if policy.head is None:
        _train_action_rows(policy)
    # Decay alone would move words that share a tensor with action rows, and spreading it over
    # processes would lose the hook that keeps them. What is frozen has no moments to spread.
    return replace(recipe, decay_tokens=False, shard=False)


def _train_action_rows(policy: TapPolicy) -> None:
    if not isinstance(policy.vlm, SmallVlm):
        from vla_ros.policy.qwen_vlm import QwenVlm

        assert isinstance(policy.vlm, QwenVlm)
        policy.vlm.vocabulary.train_actions()
        return
    first, rows = policy.vlm.first_action_token, policy.vlm.rows

    def keep_words(gradient: Tensor) -> Tensor:
        # AdamW does not move what has only ever had gradients of 0, where nothing decays.
        return torch.cat([torch.zeros_like(gradient[:first]), gradient[first:]])

    rows.requires_grad_(True)
    rows.register_hook(keep_words)


def run_tap(
    args: argparse.Namespace,
    world: World,
    recipe: TapRecipe,
    data: TapData,
    policy: TapPolicy,
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
    policy = policy.to(world.device)

    def loss(model: nn.Module, batch: TapBatch) -> PartLoss:
        found = model(*batch.to(world.device))
        hits = {} if found.hits is None else {"token_accuracy": found.hits / found.count}
        return PartLoss(found.total, found.count, hits)

    def groups() -> list[dict]:
        return policy.optimizer_groups(recipe.peak_lr, recipe.weight_decay, recipe.decay_tokens)

    batches = data.micro_batches(recipe, args.seed, world)
    job = make_job(policy, groups, batches, loss, recipe, world)

    def measure() -> HeldOut:
        held_out = data.held_out_batches(recipe.eval_samples)
        return evaluate(policy, held_out, data, world.device, recipe.bf16)

    stage = Stage(args, "tap", recipe, job, data, facts, measure, data.normalizer, source)
    return run_stage(stage, stop_after)


@torch.inference_mode()
def evaluate(
    policy: TapPolicy,
    batches: Iterable[tuple[Samples, TapBatch]],
    data: TapData,
    device: torch.device,
    bf16: bool,
) -> HeldOut:
    """Return the error of the actions that `policy` takes, and of its tokens where it has some."""
    predicted, target, tokens, pictures = [], [], [], []
    for samples, batch in batches:
        there = batch.to(device)
        with autocast(device.type, bf16):
            predicted.append(policy.act(there.images, there.text)[:, 0].cpu().numpy())
            if policy.tokenizer is not None:
                found = policy(*there)
                assert found.hits is not None
                count = int(found.count)
                tokens.append((float(found.total) * count, int(found.hits), count))
        target.append(batch.actions[:, 0].numpy())
        pictures += list(samples.pictures[data.contract.camera][: SHOWN - len(pictures)])
    guess, true = np.concatenate(predicted), np.concatenate(target)
    metrics = errors(guess, true, data.constant, data.normalizer)
    if tokens:
        loss, hits, count = np.sum(tokens, axis=0).tolist()
        metrics |= {"val_cross_entropy": loss / count, "val_token_accuracy": hits / count}
    shown = len(pictures)
    return HeldOut(metrics, prediction_picture(pictures, guess[:shown], true[:shown]))


def errors(
    predicted: np.ndarray, target: np.ndarray, constant: np.ndarray, normalizer: Normalizer
) -> dict:
    """Return loss and error a dimension of the policy and of a constant prediction.

    Args:
        predicted, target: (N, 7) normalised actions of held-out frames.
        constant: (7,) mean normalised action of the training frames.
        normalizer: to say errors in metres and radians.
    """
    metrics: dict = {}
    guesses = {"val": predicted, "val_constant": np.broadcast_to(constant, target.shape)}
    for name, guess in guesses.items():
        squared = (guess - target).astype(np.float64) ** 2
        absolute = np.abs(normalizer.invert(guess) - normalizer.invert(target))
        metrics[f"{name}_loss"] = float(squared.mean())
        metrics[f"{name}_loss_by_dimension"] = dict(
            zip(DIMENSIONS, squared.mean(0).tolist(), strict=True)
        )
        metrics[f"{name}_mean_absolute_error"] = dict(
            zip(DIMENSIONS, absolute.mean(0).tolist(), strict=True)
        )
    metrics["units"] = dict(zip(DIMENSIONS, UNITS, strict=True))
    return metrics
