"""Teach the small backbone to see: questions on simulated pictures, answered token by token.

    python -m training.pretrain_vlm --data data/captions --out ckpt/backbone
    python -m training.pretrain_vlm --data data/captions --out ckpt/backbone --resume
    python -m training.pretrain_vlm --data data/captions --out /tmp/b --recipe tiny   # two steps

Data are those of `python -m vla_ros.sim.captions`. The prompt is text, the answer is the suffix,
the loss is that of the next token (`vla_ros.policy.vlm`). One frame in 20 is held out, and so are
some wordings and pairs of objects. metrics.json tells, by kind of question, how many tokens and
answers are right and how far places are off, and how well places can be read out of the frozen
features by a linear function, next to the same network untrained.
"""

import argparse
import io
import json
import sys
import time
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from training.learning.caption_answers import answer_loss, evaluate_answers
from training.learning.caption_data import Captions, open_captions
from training.learning.precision import autocast
from training.learning.readout import evaluate_readout
from training.learning.schedule import warm_up_and_cosine
from training.provenance import code_version
from vla_ros.core.errors import CheckpointError, VlaError
from vla_ros.policy.parameters import num_parameters
from vla_ros.policy.small_config import SmallVlmConfig
from vla_ros.policy.small_files import load_small_vlm, require_backbone_or_nothing, save_small_vlm
from vla_ros.policy.small_vlm import SmallVlm
from vla_ros.policy.text_tokens import train_tokenizer

STATE_FILE, METRICS_FILE, RUN_FILE = "training_state.pt", "metrics.json", "run.json"
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
FOODS = ("carrot", "banana", "apple", "orange", "pumpkin", "lemon", "eggplant")


@dataclass(frozen=True)
class PretrainConfig:
    """Settings of a run.

    Attributes:
        model: sizes; its tokenizer is made of the captions.
        vocabulary: tokens at most.
        steps, batch_size: optimiser steps, and pictures in each.
        questions: of each picture in a step; they share its encoding.
        peak_lr, warmup_fraction, weight_decay, clip: AdamW with warm-up and cosine.
        save_every: steps between checkpoints to resume from.
        eval_frames: held-out pictures that are asked about at the end.
        readout_frames: pictures that the linear read-out is fitted on.
        bf16: bfloat16 where it is safe (autocast), and fast (`precision`).
    """

    model: SmallVlmConfig = field(default_factory=SmallVlmConfig)
    vocabulary: int = 2048
    steps: int = 6000
    batch_size: int = 32
    questions: int = 4
    peak_lr: float = 5e-4
    warmup_fraction: float = 0.03
    weight_decay: float = 0.05
    clip: float = 1.0
    save_every: int = 500
    eval_frames: int = 300
    readout_frames: int = 2000
    bf16: bool = True


def small() -> PretrainConfig:
    """Return the CPU-sized run."""
    return PretrainConfig()


def tiny() -> PretrainConfig:
    """Return a run for tests: a toy model, two steps."""
    model = SmallVlmConfig(
        image_size=32,
        channels=(8, 8, 8),
        num_keypoints=4,
        keypoint_tokens=1,
        grid=2,
        width=16,
        depth=1,
        num_heads=2,
    )
    return PretrainConfig(
        model=model,
        vocabulary=300,
        steps=2,
        batch_size=4,
        questions=2,
        save_every=1,
        eval_frames=1,
        readout_frames=38,
        bf16=False,
    )


RECIPES = {"small": small, "tiny": tiny}


def learning_rate(step: int, config: PretrainConfig) -> float:
    """Return the rate of step `step` (from 0): linear warm-up, then a cosine to 0."""
    warmup = max(1, round(config.steps * config.warmup_fraction))
    return warm_up_and_cosine(config.peak_lr, step, warmup, config.steps)


def make_model(config: PretrainConfig, data: Captions, seed: int) -> SmallVlm:
    """Return the untrained model with its tokenizer; equal arguments give equal weights."""
    sentences = data.sentences()
    told = [text.format(x=food) for text in INSTRUCTIONS for food in FOODS]
    tokenizer = train_tokenizer([*sentences, *told, *told], config.vocabulary)
    torch.manual_seed(seed)
    return SmallVlm(replace(config.model, tokenizer=tokenizer))


def make_optimizer(model: SmallVlm, config: PretrainConfig) -> torch.optim.AdamW:
    """Return AdamW; vectors and biases are not decayed."""
    groups = [
        {
            "params": [p for p in model.parameters() if p.ndim > 1],
            "weight_decay": config.weight_decay,
        },
        {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.peak_lr, fused=True)


def train_step(
    model: SmallVlm,
    optimizer: torch.optim.Optimizer,
    data: Captions,
    config: PretrainConfig,
    step: int,
    seed: int,
) -> float:
    """Take step `step`, whose batch depends on seed and step alone; return its loss."""
    rng = np.random.default_rng([seed, step])
    frames, prompts, answers = data.draw(rng, config.batch_size, config.questions)
    suffix = model.tokenizer.answers(answers, config.model.max_suffix)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(step, config)
    with autocast("cpu", config.bf16):
        points, patches = model.encode(data.pictures(frames))
        points = points.repeat_interleave(config.questions, 0)
        patches = patches.repeat_interleave(config.questions, 0)
        logits = model.read(points, patches, prompts, suffix).logits
    loss = answer_loss(logits, suffix)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
    optimizer.step()
    return loss.item()


def _resume(
    out: Path, model: SmallVlm, optimizer: torch.optim.Optimizer, facts: dict
) -> tuple[int, list]:
    """Load weights and optimiser of the run in `out`; return its steps and its curve."""
    found = load_small_vlm(out)
    try:
        run = json.loads((out / RUN_FILE).read_text())
        state = torch.load(out / STATE_FILE, weights_only=True)
    except Exception as error:  # the reader of damaged bytes raises nearly anything
        raise CheckpointError(
            f"{out} cannot be resumed, {RUN_FILE} or {STATE_FILE} is missing or damaged "
            f"({type(error).__name__}); start this run again without --resume"
        ) from None
    different = [k for k, v in json.loads(json.dumps(facts)).items() if run.get(k) != v]
    if different:
        raise CheckpointError(
            f"{out} belongs to another run ({', '.join(different)} differ); resume with the same "
            "options, or give another --out"
        )
    model.load_state_dict(found.state_dict())
    optimizer.load_state_dict(state["optimizer"])
    return state["step"], state["curve"]


def _save(
    out: Path, model: SmallVlm, optimizer: torch.optim.Optimizer, facts: dict, progress: dict
) -> None:
    buffer = io.BytesIO()
    torch.save({"optimizer": optimizer.state_dict(), **progress}, buffer)
    run = {**facts, "steps_done": progress["step"], "code_version": code_version()}
    run_text = json.dumps(run, indent=2) + "\n"
    save_small_vlm(model, out, {STATE_FILE: buffer.getvalue(), RUN_FILE: run_text.encode()})


def train(args: argparse.Namespace, stop_after: int | None = None) -> dict:
    """Run it and return its metrics; `stop_after` steps ends as if interrupted (tests)."""
    config = RECIPES[args.recipe]()
    config = replace(config, steps=args.steps or config.steps)
    require_backbone_or_nothing(args.out)
    data = open_captions(args.data, config.model.image_size)
    model = make_model(config, data, args.seed)
    untrained = deepcopy(model)
    optimizer = make_optimizer(model, config)
    facts = {
        "stage": "pretrain",
        "recipe": args.recipe,
        "config": asdict(config),
        "seed": args.seed,
        "data": data.key,
    }
    step, curve = _resume(args.out, model, optimizer, facts) if args.resume else (0, [])
    print(
        f"{len(data.trained)} frames, {len(data.held_out)} held out; "
        f"{num_parameters(model) / 1e6:.2f} M parameters, {model.tokenizer.size} tokens; "
        f"{config.steps} steps of {config.batch_size} x {config.questions}"
    )
    started, recent, before = time.perf_counter(), [], step
    with tqdm(total=config.steps, initial=step, desc="pretrain", unit="step") as bar:
        while step < min(config.steps, stop_after or config.steps):
            recent.append(train_step(model, optimizer, data, config, step, args.seed))
            step += 1
            bar.update()
            bar.set_postfix(loss=f"{recent[-1]:.4f}", refresh=False)
            is_last = step in (config.steps, stop_after)
            if step % max(1, config.steps // 100) == 0 or is_last:
                curve.append({"step": step, "loss": float(np.mean(recent))})
                recent.clear()
            if step % config.save_every == 0 or is_last:
                progress = {"step": step, "curve": curve}
                _save(args.out, model, optimizer, facts, progress)
    step_ms = 1000 * (time.perf_counter() - started) / max(1, step - before)
    metrics = {"steps": step, "step_ms": step_ms, "train_curve": curve}
    if step == config.steps:
        model.eval()
        untrained.eval()
        metrics["answers"] = evaluate_answers(model, data, config.eval_frames, config.bf16)
        networks = {"pretrained": model, "untrained": untrained}
        metrics["readout_cm"] = evaluate_readout(networks, data, config.readout_frames, config.bf16)
    (args.out / METRICS_FILE).write_text(json.dumps(metrics, indent=2) + "\n")
    return metrics


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
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Train as the command line says; an error is one sentence on stderr and exit code 1."""
    args = parse_arguments(argv)
    try:
        metrics = train(args)
    except VlaError as error:
        print(f"training.pretrain_vlm: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"stopped; go on with --resume, from the backbone in {args.out}", file=sys.stderr)
        return 130
    for what, errors in metrics["readout_cm"].items():
        told = ", ".join(f"{name} {error:.2f} cm" for name, error in errors.items())
        print(f"read-out of {what}: {told}")
    print(f"{args.out}: {metrics['steps']} steps of {metrics['step_ms']:.0f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
