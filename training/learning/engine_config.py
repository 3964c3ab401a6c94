"""How a run optimises, logs and saves: what the recipe of every stage is, whatever else it has."""

import math
from dataclasses import asdict, dataclass
from typing import Literal

from vla_ros.core.errors import VlaError


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """Settings that all runs share; recipes add their own.

    Attributes:
        steps: optimiser steps.
        batch_size: samples a step, of all processes together.
        accumulation: micro-batches that a process cuts its share into.
        schedule: after the warm-up, "cosine" to 0 (TAP, paper and code) or "constant" (APT, code).
        warmup_steps: over which rates rise linearly.
        warmup_fraction: part of all steps that they rise over, where `warmup_steps` is 0.
        clip: largest norm of the whole gradient.
        ema_decay: of averaged weights, which are measured and saved then; 0: none. APT's code
            defines 0.9995 and leaves it off.
        betas: AdamW's.
        bf16: bfloat16 where it is safe (autocast), and fast (`precision`).
        shard: spread a backbone that trains over the processes (FSDP2), if there are several.
        num_logs: points of the curves of a run.
        num_evals: how often held-out error is measured; the checkpoint is saved then, too.
        save_minutes: after so many a checkpoint is saved in between.
    """

    steps: int
    batch_size: int = 32
    accumulation: int = 1
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_steps: int = 0
    warmup_fraction: float = 0.0
    clip: float = 1.0
    ema_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    bf16: bool = False
    shard: bool = False
    num_logs: int = 100
    num_evals: int = 1
    save_minutes: float = 10.0

    def __post_init__(self):
        object.__setattr__(self, "betas", tuple(self.betas))
        sizes = (self.steps, self.batch_size, self.accumulation, self.num_logs, self.num_evals)
        shares = (self.warmup_fraction, self.ema_decay)
        is_right = min(sizes) >= 1 and self.warmup_steps >= 0 and all(0 <= s < 1 for s in shares)
        positive = min(self.clip, self.save_minutes) > 0
        if not (is_right and positive) or self.schedule not in ("cosine", "constant"):
            raise VlaError(
                "a run needs counts of at least 1, a positive clip and time between checkpoints, "
                f"shares in [0, 1) and schedule cosine or constant, got {self}; correct the recipe"
            )

    @property
    def rise_steps(self) -> int:
        """Steps over which rates rise."""
        if self.warmup_steps or not self.warmup_fraction:
            return self.warmup_steps
        return max(1, round(self.steps * self.warmup_fraction))

    @property
    def log_every(self) -> int:
        """Steps between two points of the curves; the end has one anyway."""
        return max(1, self.steps // self.num_logs)

    @property
    def evaluate_every(self) -> int:
        """Steps between two measurements of held-out error; the end has one anyway."""
        return math.ceil(self.steps / self.num_evals)

    def to_dict(self) -> dict:
        """Return plain JSON types."""
        return {**asdict(self), "betas": list(self.betas)}
