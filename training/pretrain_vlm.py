"""Teach the small backbone to see: to point at what is named, and to answer questions in words.

    python -m training.pretrain_vlm --data data/captions --out ckpt/backbone
    python -m training.pretrain_vlm --data data/captions --out ckpt/backbone --resume
    python -m training.pretrain_vlm --data data/captions --out /tmp/b --recipe tiny   # two steps

Data are those of `python -m vla_ros.sim.captions`. Of a question in words the prompt is text, the
answer is the suffix, the loss is that of the next token (`vla_ros.policy.vlm`); pointing is a
regression (`training.learning.pointing`). One frame in 20 is held out, and so are some wordings and
pairs of objects. metrics.json tells how far off the backbone points, by kind of question how many
tokens and answers are right, and how well places can be read out of the frozen features by a linear
function, next to the same network untrained.
"""

import argparse
import json
import sys
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from training.learning import stage_script
from training.learning.ahead import Ahead
from training.learning.caption_answers import evaluate_answers
from training.learning.caption_data import Captions, open_captions
from training.learning.ema import Ema
from training.learning.engine import Job, PartLoss, new_optimizer, run
from training.learning.engine_config import EngineConfig
from training.learning.grounding import Shown, grounding_loss, shown_things
from training.learning.pointing import (
    PlaceQuestions,
    Taught,
    draw_points,
    draw_told,
    evaluate_pointing,
    pointing_loss,
)
from training.learning.processes import World
from training.learning.readout import evaluate_readout
from training.learning.sight import sight_loss
from training.learning.snapshot import Progress, Snapshot
from training.learning.stage_files import go_on, require_no_loss, run_files
from training.provenance import code_version
from vla_ros.core.errors import VlaError
from vla_ros.policy.checkpoint import RUN
from vla_ros.policy.checkpoint_folder import tidy_folder
from vla_ros.policy.parameters import num_parameters
from vla_ros.policy.small_config import SmallVlmConfig, toy_config
from vla_ros.policy.small_files import require_backbone_or_nothing, save_small_vlm
from vla_ros.policy.small_vlm import Asked, SmallVlm
from vla_ros.policy.text_tokens import PADDING, train_tokenizer

NAME = "training.pretrain_vlm"
# What the later stages are told; the tokenizer shall have words for it, whatever captions say.
INSTRUCTIONS = tuple(
    f"{verb} the {{x}} {where}"
    for verb, where in (
        ("put", "on the plate"),
        ("place", "onto the blue plate"),
        ("push", "to the left"),
        ("push", "to the right"),
        ("slide", "left"),
        ("move", "right"),
        ("pick up", "and lift it"),
    )
)
# How the names of the backbone's weights begin beside the head.
_VLM = "vlm."
# In which the questions of a step are read, from the shortest answers to the longest.
_GROUPS = 4
# Of the loss of grounding, which begins at the logarithm of 1,024 cells.
_GROUNDING = 0.3
FOODS = ("carrot", "banana", "apple", "orange", "pumpkin", "lemon", "eggplant")


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(EngineConfig):
    """Settings of a run, next to those of the engine.

    Attributes:
        model: sizes; its tokenizer is made of the captions.
        vocabulary: tokens at most.
        questions: of each picture in a step; they share its encoding. The batch size counts
            pictures.
        points: things of each picture, at most, that are pointed at in a step.
        told: instructions about each picture, both things of which are pointed at.
        peak_lr, weight_decay: AdamW with warm-up and cosine.
        eval_frames: held-out pictures that are asked about at the end.
        readout_frames: pictures that the linear read-out is fitted on.
    """

    model: SmallVlmConfig = SmallVlmConfig(named_points=True)
    vocabulary: int = 2048
    steps: int = 3000
    batch_size: int = 48
    questions: int = 2
    points: int = 5
    told: int = 3
    peak_lr: float = 7e-4
    warmup_fraction: float = 0.03
    weight_decay: float = 0.05
    eval_frames: int = 300
    readout_frames: int = 2000
    bf16: bool = True

    def to_dict(self) -> dict:
        """Return plain JSON types."""
        return {**super().to_dict(), "model": self.model.to_dict()}


def small() -> PretrainConfig:
    """Return the CPU-sized run."""
    return PretrainConfig()


def light() -> PretrainConfig:
    """Return half of `small`'s transformer, for the recipe of that name of the later stages."""
    return PretrainConfig(model=SmallVlmConfig(depth=3, named_points=True))


def tiny() -> PretrainConfig:
    """Return a run for tests: a toy model, two steps."""
    return PretrainConfig(
        model=replace(toy_config(max_suffix=256), named_points=True),
        vocabulary=300,
        steps=2,
        batch_size=4,
        questions=2,
        eval_frames=1,
        readout_frames=38,
        bf16=False,
    )


RECIPES = {"small": small, "light": light, "tiny": tiny}


def make_model(config: PretrainConfig, data: Captions, seed: int) -> SmallVlm:
    """Return the untrained model with its tokenizer; equal arguments give equal weights."""
    sentences = data.sentences()
    told = [text.format(x=food) for text in INSTRUCTIONS for food in FOODS]
    tokenizer = train_tokenizer([*sentences, *told, *told], config.vocabulary)
    torch.manual_seed(seed)
    return SmallVlm(replace(config.model, tokenizer=tokenizer))


def optimizer_groups(model: Taught, config: PretrainConfig) -> list[dict]:
    """Return AdamW's groups; vectors and biases are not decayed."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    return [
        {"params": matrices, "lr": config.peak_lr, "weight_decay": config.weight_decay},
        {"params": vectors, "lr": config.peak_lr, "weight_decay": 0.0},
    ]


class CaptionBatch(NamedTuple):
    """Pictures, questions on them, those of like length together, what to point at, what shows."""

    pictures: Tensor
    asked: list[Asked]
    pointed: tuple[PlaceQuestions, ...]
    shown: Shown


def by_length(prompts: list[str], answers: Tensor, per_picture: int) -> list[Asked]:
    """Return all questions in groups; few are padded by much, since most answers are short."""
    lengths = (answers != PADDING).sum(1)
    groups = []
    for chosen in lengths.argsort(stable=True).tensor_split(_GROUPS):
        longest = int(lengths[chosen].max()) if len(chosen) else 0
        if longest:
            texts = [prompts[k] for k in chosen]
            groups.append(Asked(chosen // per_picture, texts, answers[chosen, :longest]))
    return groups


def make_job(model: Taught, config: PretrainConfig, data: Captions, seed: int) -> Job:
    """Return the engine's job; the batch of a step depends on seed and step alone."""
    vlm = model.vlm

    def micro_batches(step: int) -> list[CaptionBatch]:
        rng = np.random.default_rng([seed, step])
        frames, prompts, answers = data.draw(rng, config.batch_size, config.questions)
        suffix = vlm.tokenizer.answers(answers, config.model.max_suffix)
        asked = by_length(prompts, suffix, config.questions)
        places = draw_points(data, rng, frames, config.points)
        told = draw_told(data, rng, frames, config.told)
        pointed = tuple(one for one in (places, told) if one.kinds)
        shown = shown_things(data, frames)
        return [CaptionBatch(data.pictures(frames), asked, pointed, shown)]

    def loss(_: torch.nn.Module, batch: CaptionBatch) -> PartLoss:
        questions = [*batch.asked, *(pointed.asked for pointed in batch.pointed)]
        encoded = vlm.encode(batch.pictures)
        features = vlm.asked_features(encoded, questions)
        in_words = functional.cross_entropy(*vlm.scored(features[: len(batch.asked)], batch.asked))
        places = zip(features[len(batch.asked) :], batch.pointed, strict=True)
        losses = [pointing_loss(model, x, pointed.places) for x, pointed in places]
        losses = {"in_words": in_words, "pointing": torch.stack(losses).sum()}
        if batch.shown.names:
            losses["sight"] = sight_loss(model.sight, vlm, encoded, batch.shown)
        if vlm.named is not None and batch.shown.names:
            losses["grounding"] = _GROUNDING * grounding_loss(vlm, encoded, batch.shown)
        said = {name: value.detach() for name, value in losses.items()}
        return PartLoss(torch.stack(list(losses.values())).sum(), 1.0, said)

    optimizer = new_optimizer(optimizer_groups(model, config), config)
    ema = Ema(model, config.ema_decay) if config.ema_decay else None
    return Job(config, World(), model, model, optimizer, ema, micro_batches, loss)


def train(
    args: argparse.Namespace, world: World | None = None, stop_after: int | None = None
) -> dict:
    """Run it and return its metrics; `stop_after` steps ends as if interrupted (tests)."""
    if world is not None and world.size > 1:
        raise VlaError(f"{NAME} runs in one process; start it without torchrun")
    config = RECIPES[args.recipe]()
    config = replace(config, steps=args.steps or config.steps)
    tidy_folder(args.out)
    require_backbone_or_nothing(args.out)
    require_no_loss(args, stage="pretrain")
    data = open_captions(args.data, config.model.image_size)
    vlm = make_model(config, data, args.seed)
    untrained, model = deepcopy(vlm).eval(), Taught(vlm, data.names)
    job = make_job(model, config, data, args.seed)
    facts = {
        "stage": "pretrain",
        "recipe": args.recipe,
        "config": config.to_dict(),
        "seed": args.seed,
        "data": data.key,
    }
    progress, metrics = go_on(args.out, job, facts) if args.resume else (Progress(), {})
    first_step = progress.step
    if first_step == config.steps:
        return metrics
    print(
        f"{len(data.trained)} frames, {len(data.held_out)} held out; "
        f"{num_parameters(vlm) / 1e6:.2f} M parameters, {vlm.tokenizer.size} tokens; "
        f"{config.steps} steps of {config.batch_size} x "
        f"({config.questions} + {config.points} + {config.told})"
    )
    batches = Ahead(job.micro_batches, min(config.steps, stop_after or config.steps))

    def evaluate(step: int) -> None:
        metrics.update(_measured(model, untrained, data, config))

    def save(progress: Progress, snapshot: Snapshot) -> None:
        metrics.update(
            steps=progress.step,
            step_ms=1000 * progress.seconds / (progress.step - first_step),
            train_curve=[{"step": step, "loss": loss} for step, loss in progress.curve],
        )
        document = {**facts, "steps_done": progress.step, "code_version": code_version()}
        files = run_files(job, progress, snapshot, metrics)
        files[RUN] = (json.dumps(document, indent=2) + "\n").encode()
        averaged = {n.removeprefix(_VLM): w for n, w in snapshot.weights.items() if _VLM in n}
        save_small_vlm(vlm, args.out, files, averaged)

    try:
        run(replace(job, micro_batches=batches), progress, save, None, evaluate, stop_after)
    finally:
        batches.close()
    return metrics


def _measured(model: Taught, untrained: SmallVlm, data: Captions, config: PretrainConfig) -> dict:
    networks = {"pretrained": model.vlm, "untrained": untrained}
    return {
        "answers": evaluate_answers(model.vlm, data, config.eval_frames, config.bf16),
        "pointing_cm": evaluate_pointing(model, data, config.eval_frames, config.bf16),
        "readout_cm": evaluate_readout(networks, data, config.readout_frames, config.bf16),
    }


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the command line's settings."""
    parser = argparse.ArgumentParser(
        prog="training.pretrain_vlm",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of vla_ros.sim.captions")
    parser.add_argument("--out", type=Path, required=True, help="backbone folder to write")
    parser.add_argument("--recipe", choices=RECIPES, default="small", help="named settings")
    parser.add_argument("--steps", type=int, help="optimiser steps; the recipe's if not given")
    parser.add_argument("--seed", type=int, default=0, help="of weights and batches")
    stage_script.add_resuming(parser)
    return parser.parse_args(argv)


def closing_lines(metrics: dict) -> str:
    """Return what a run reached, a line for each thing that was read out."""
    lines = [f"{metrics['steps']} steps of {metrics['step_ms']:.0f} ms"]
    for what, error in metrics["pointing_cm"].items():
        lines.append(f"points at {what}: {error:.2f} cm off (median)")
    for what, errors in metrics["readout_cm"].items():
        told = ", ".join(f"{name} {error:.2f} cm" for name, error in errors.items())
        lines.append(f"read-out of {what}: {told}")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Train as the command line says; an error is one sentence on stderr and exit code 1."""
    return stage_script.main(NAME, parse_arguments(argv), train, closing_lines)


if __name__ == "__main__":
    sys.exit(main())
