"""Named training runs: functions that return a frozen configuration."""

from dataclasses import asdict, dataclass, field

from vla_ros.core.errors import VlaError
from vla_ros.policy.backbone import SmallVlmConfig
from vla_ros.policy.tap import TapConfig


@dataclass(frozen=True)
class RunConfig:
    """One stage's settings.

    Attributes:
        model: sizes, for a model that starts from scratch.
        steps: optimiser steps.
        batch_size: samples a step.
        peak_lr: learning rate after the warm-up; a cosine takes it to 0.
        warmup_fraction: part of the steps over which the rate rises linearly.
        weight_decay, betas: AdamW. The paper has 0.05 and (0.9, 0.999).
        clip: largest norm of the gradient.
        shift_px: random shift of the pictures, up to this many pixels each way, the same for both
            pictures of a pair. The papers augment nothing; 0 turns it off.
        pair_offset: Stage 1 learns and is measured on pairs (o_t, o_t+k) for this k, with the
            motion summed up over the k steps; the paper has 1.
        pair_span: Stage 1 trains on pairs up to so many frames apart, forward and backward in time,
            with the displacement between the two poses as label; 0 takes (o_t, o_t+k) alone, as
            the paper does. Forward pairs alone let a network that remembers the play answer from
            one picture. Held-out losses are always of (o_t, o_t+k).
        val_fraction: part of the bags that is held out.
        num_evals: how often the held-out loss is measured.
        bf16: compute in bfloat16 where it is safe (autocast).
        keep_normalizer: Stage 2 from a checkpoint keeps that checkpoint's action scale, so that
            the carried-over head means the same metres. False fits the scale on the
            demonstrations, as TAP's code does for each dataset: slow play would clip fast
            demonstrations.
    """

    model: TapConfig = field(default_factory=TapConfig)
    steps: int = 900
    batch_size: int = 32
    peak_lr: float = 5e-4
    warmup_fraction: float = 0.05
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float = 1.0
    shift_px: int = 4
    pair_offset: int = 1
    pair_span: int = 3
    val_fraction: float = 0.2
    num_evals: int = 6
    bf16: bool = True
    keep_normalizer: bool = False

    def to_dict(self) -> dict:
        """Return plain JSON types."""
        return {**asdict(self), "betas": list(self.betas)}


def small(stage: int) -> RunConfig:
    """Return the CPU-sized run: about 3 minutes a stage on 2 cores."""
    return RunConfig()


def tiny(stage: int) -> RunConfig:
    """Return a run for tests: a toy model, two steps."""
    backbone = SmallVlmConfig(
        image_size=32,
        channels=(8, 8, 8),
        num_keypoints=4,
        keypoint_tokens=1,
        grid=2,
        width=16,
        depth=1,
        num_heads=2,
        text_buckets=64,
    )
    return RunConfig(
        model=TapConfig(backbone, head_width=16),
        steps=2,
        batch_size=4,
        shift_px=2,
        num_evals=1,
        bf16=False,
    )


RECIPES = {"small": small, "tiny": tiny}


def recipe(name: str, stage: int) -> RunConfig:
    """Return the recipe `name` for the stage; raises VlaError that lists the known ones."""
    if name not in RECIPES:
        raise VlaError(f"recipe {name!r} is unknown; known: {', '.join(RECIPES)}")
    return RECIPES[name](stage)
