"""Named runs of TAP: functions that return a frozen configuration for a stage."""

from dataclasses import dataclass, field, replace
from typing import Any

from training.learning.engine_config import EngineConfig
from vla_ros.policy.fast_tokens import VOCABULARY
from vla_ros.policy.small_config import SmallVlmConfig, toy_config
from vla_ros.policy.tap_config import TapConfig

NO_CLIP = 1e9


@dataclass(frozen=True, kw_only=True)
class TapRecipe(EngineConfig):
    """One stage's settings, next to those of the engine.

    Attributes:
        tap: switches of the method.
        small: sizes of the small backbone where it starts from random weights.
        qwen: `QwenOptions` of a Qwen-VL: how much of it trains, and how.
        vocabulary: most action tokens of a tokenizer fitted on the data. Merged ones make an
            action shorter, and each of them rarer.
        peak_lr: learning rate after the warm-up; a cosine takes it to 0.
        weight_decay, decay_tokens: AdamW, see `TapPolicy.optimizer_groups`.
        shift_px: random shift of the pictures, up to this many pixels each way, the same for both
            pictures of a pair. The papers augment nothing; 0 turns it off.
        colours: random brightness, contrast, saturation, gamma and a light blur, APT's
            (`vla_ros.policy.apt.augment`), the same for both pictures of a pair.
        pair_offset: Stage 1 learns and is measured on pairs (o_t, o_t+k) for this k, with the
            motion summed up over the k steps; the paper has 1. Over a second the arm crosses
            many pixels, and what it did the second before no longer tells what it does.
        pair_span: Stage 1 trains on pairs up to so many frames apart, and up to `pair_offset` at
            least, forward and backward in time, with the displacement between the two poses as
            label; 0 takes (o_t, o_t+k) alone, as the paper does. Forward pairs alone let a network
            that remembers the play answer from one picture. Held-out errors are always of
            (o_t, o_t+k).
        val_fraction: part of the bags that is held out.
        eval_samples: how many samples, at most, evenly spread over the held-out ones.
        keep_normalizer: Stage 2 from a checkpoint keeps that checkpoint's action scale, so that
            what it learned means the same metres. False fits the scale on the demonstrations, as
            TAP's code does for each dataset: slow play would clip fast demonstrations. Action
            tokens are those of Stage 1 either way, since head and vocabulary rows are: they are of
            numbers in [-1, 1], so with another scale each means the same share of another range.
    """

    tap: TapConfig
    small: SmallVlmConfig = field(default_factory=SmallVlmConfig)
    qwen: dict[str, Any] = field(default_factory=dict)
    vocabulary: int = VOCABULARY
    steps: int = 900
    warmup_fraction: float = 0.05
    peak_lr: float = 5e-4
    weight_decay: float = 0.05
    decay_tokens: bool = False
    shift_px: int = 4
    colours: bool = False
    pair_offset: int = 5
    pair_span: int = 5
    val_fraction: float = 0.2
    num_evals: int = 4
    eval_samples: int = 512
    bf16: bool = True
    keep_normalizer: bool = False


def small(stage: int) -> TapRecipe:
    """Return the CPU-sized run: some minutes a stage on 2 cores."""
    return TapRecipe(tap=TapConfig(stage))


def light(stage: int) -> TapRecipe:
    """Return a run with half of `small`'s transformer, and its regression.

    On a CPU a sample takes two thirds of the time, so more of them are seen in an hour.
    """
    half = replace(SmallVlmConfig(), depth=3)
    head = TapConfig(stage, head="mlp")
    return TapRecipe(tap=head, small=half, batch_size=64, peak_lr=7e-4)


def light_colours(stage: int) -> TapRecipe:
    """Return `light` with each picture in a light of its own, for rooms that nobody recorded."""
    return replace(light(stage), colours=True)


def tiny(stage: int) -> TapRecipe:
    """Return a run for tests: toy models, two steps."""
    return TapRecipe(
        tap=TapConfig(stage, head_width=16),
        small=toy_config(depth=1),
        qwen={"image_size": 32, "tuning": "full"},
        vocabulary=64,
        steps=2,
        batch_size=4,
        ema_decay=0.5,
        shift_px=2,
        num_evals=1,
        bf16=False,
    )


def qwen(stage: int) -> TapRecipe:
    """Return the paper's run for a Qwen-VL of either family, on GPUs.

    Second-hand from the paper (methods A.4): 100k steps of 128, AdamW 5e-5, betas (0.9, 0.999),
    decay 0.05, 5 % warm-up, cosine, clip 1, bf16; gradient checkpointing is the code's in Stage 1.
    All of the language model trains, the vision tower from Stage 2 on. The released code has the
    published action tokens: `--action-tokens`.
    """
    return TapRecipe(
        tap=TapConfig(stage),
        qwen={"tuning": "full", "dtype": "bfloat16", "gradient_checkpointing": stage == 1},
        steps=100_000,
        batch_size=128,
        peak_lr=5e-5,
        shift_px=0,
        pair_offset=1,
        pair_span=0,
        shard=True,
        num_evals=10,
        eval_samples=1024,
        save_minutes=30.0,
    )


def qwen_code(stage: int) -> TapRecipe:
    """Return `qwen` as the authors' released code has it (methods A.4).

    Nothing is frozen, no clip, warm-up over 1k and 1.5k steps; the library's decay of 0.01 in Stage
    1, betas (0.9, 0.95) and 1e-8 in Stage 2, on all parameters. Its scheduler goes on once a
    process, so that 8 of them finish the cosine early and go round; that is left out.
    """
    paper = qwen(stage)
    return replace(
        paper,
        tap=replace(paper.tap, frozen_vision="never", decoding="free", malformed="zeros"),
        warmup_fraction=0.01 if stage == 1 else 0.015,
        weight_decay=0.01 if stage == 1 else 1e-8,
        decay_tokens=True,
        betas=(0.9, 0.999) if stage == 1 else (0.9, 0.95),
        clip=NO_CLIP,
    )


def qwen_lora(stage: int) -> TapRecipe:
    """Return `qwen` with adapters in place of all weights: for one GPU. Ours, not the papers'."""
    options = {"tuning": "lora", "dtype": "bfloat16", "gradient_checkpointing": True}
    sizes = {"steps": 10_000, "batch_size": 32, "accumulation": 4}
    return replace(qwen(stage), qwen=options, peak_lr=1e-4, shard=False, **sizes)


RECIPES = {
    recipe.__name__: recipe
    for recipe in (small, light, light_colours, tiny, qwen, qwen_code, qwen_lora)
}
