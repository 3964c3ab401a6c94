"""Named runs of APT: functions that return a frozen configuration for a stage."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from training.learning.apt_windows import Targets
from training.learning.engine_config import EngineConfig
from vla_ros.core.errors import CheckpointError
from vla_ros.policy.apt.config import (
    AptConfig,
    groot_style,
    paper_apt,
    pi_style,
    small_apt,
)
from vla_ros.policy.small_config import SmallVlmConfig, toy_config

STYLES = ("apt", "pi", "groot")
FUSIONS = ("code", "paper")


@dataclass(frozen=True)
class Augmentation:
    """What training does to pictures and geometry (`vla_ros.policy.apt.augment`).

    Defaults are the authors' code. Without colours, dropped cameras and a random order of several
    cameras, pictures stay as they are, and a frozen backbone's features are computed once.

    Attributes:
        colours: brightness, contrast, saturation, gamma and a light blur.
        shuffle_cameras: random order of the pictures of a sample.
        drop_cameras: probability of hiding a picture.
        turn_world: a random world frame for each sample.
        shake: noise on history and tool position.
    """

    colours: bool = True
    shuffle_cameras: bool = True
    drop_cameras: float = 0.0
    turn_world: bool = True
    shake: bool = False

    def keeps_pictures(self, num_cameras: int) -> bool:
        """Whether a frame's pictures are the same each time."""
        moves = self.shuffle_cameras and num_cameras > 1
        return not (self.colours or moves or self.drop_cameras)


AS_RECORDED = Augmentation(colours=False, shuffle_cameras=False, turn_world=False)


@dataclass(frozen=True, kw_only=True)
class AptRecipe(EngineConfig):
    """One stage's settings, next to those of the engine.

    Attributes:
        apt: sizes and switches of the method, at this stage.
        small: sizes of the small backbone where it starts from random weights.
        qwen: `QwenOptions` of a Qwen-VL but for how much of it trains, which `--vlm` says.
        targets: see `apt_windows.Chunks`; the code has "desired".
        reference: whose axes chunks are in while training, a "random" camera (code) or the
            "first", which is the one at run time.
        noises: how many noises of each sample a step learns from. Reading the scene is most of the
            time with a small expert, and an answer to one noise says little of what was seen.
        mask_ends: leave out of the loss the last pose's repetitions beyond an episode's end; the
            code learns them, as a demonstration ends at rest. A recording that was cut does not.
        augmentation: see there.
        expert_lr, expert_decay, vlm_lr, vlm_decay, decay_gates: AdamW, see
            `AptPolicy.optimizer_groups`.
        schedule: "constant" as in the code; the paper is silent.
        val_fraction: part of the bags that is held out.
        eval_samples: how many samples, at most, evenly spread over the held-out ones.
        cache_gib: features of a frozen backbone are computed once where they fit in so much memory
            of a machine.
    """

    apt: AptConfig
    small: SmallVlmConfig = field(default_factory=SmallVlmConfig)
    qwen: dict[str, Any] = field(default_factory=dict)
    targets: Targets = "desired"
    reference: Literal["random", "first"] = "random"
    noises: int = 1
    mask_ends: bool = False
    augmentation: Augmentation = AS_RECORDED
    steps: int = 2000
    expert_lr: float = 1e-4
    expert_decay: float = 1e-2
    vlm_lr: float = 1e-5
    vlm_decay: float = 1e-10
    decay_gates: bool = False
    schedule: Literal["constant", "cosine"] = "constant"
    warmup_steps: int = 100
    val_fraction: float = 0.2
    num_evals: int = 4
    eval_samples: int = 256
    cache_gib: float = 2.0
    bf16: bool = True

    def to_dict(self) -> dict:
        """Return plain JSON types."""
        return {**super().to_dict(), "apt": self.apt.to_dict(), "small": self.small.to_dict()}


def small(stage: int) -> AptRecipe:
    """Return the CPU-sized run: half an hour a stage on 2 cores.

    In so few steps the authors' rate, which is for 50,000 of them, hardly leaves the start; a
    higher one wants to end low. The expert is told how far the gripper is open, which the authors'
    code leaves out: pictures of 128 px hardly show whether a hand holds something. And the hand
    closes when that is likelier than not, not at the first doubt.
    """
    expert = replace(small_apt(stage), precondition="linear", history_gripper=True, open_above=0.0)
    return AptRecipe(apt=expert, expert_lr=5e-4, schedule="cosine")


def light(stage: int) -> AptRecipe:
    """Return a run with half of the backbone's transformer and 6 of the expert's 10 slots.

    For a backbone of the recipe of that name; more samples are seen in an hour. Chunks are of 3
    seconds, all layers of the backbone reach the actions, what the arm does next counts as much as
    where it ends, and a backbone that is tuned gets a rate at which 3,000 steps change it.
    """
    expert = replace(
        small(stage).apt, num_layers=6, features=(0, 1, 2, 2, 2, 2), horizon=16, sample_steps=10
    )
    half = replace(SmallVlmConfig(), depth=3)
    whole = replace(small(stage), small=half, batch_size=48, noises=4, vlm_lr=5e-4, cache_gib=6.0)
    return replace(whole, apt=replace(expert, precondition="edm"))


def tiny(stage: int) -> AptRecipe:
    """Return a run for tests: toy models, two steps."""
    expert = AptConfig(
        stage, num_layers=4, width=16, num_heads=1, horizon=4, train_steps=4, sample_steps=2
    )
    return AptRecipe(
        apt=expert,
        small=toy_config(depth=2),
        qwen={"image_size": 24},
        steps=2,
        batch_size=4,
        warmup_steps=1,
        expert_lr=1e-3,
        num_evals=1,
        eval_samples=8,
        bf16=False,
    )


def qwen(stage: int) -> AptRecipe:
    """Return the authors' run for a Qwen-VL, on GPUs (methods B.5), where paper and code agree.

    Expert of width 768 with 10 slots (5 layers in Stage 1), batch 256, 1e-4 and 1e-5, decay 1e-2
    and 1e-10, clip 1, bf16, 50k and 25k steps with 10k and 2k of warm-up, as the code's scripts.
    """
    return AptRecipe(
        apt=AptConfig(stage),
        qwen={"dtype": "bfloat16", "gradient_checkpointing": stage == 2},
        augmentation=Augmentation(),
        steps=50_000 if stage == 1 else 25_000,
        batch_size=256,
        warmup_steps=10_000 if stage == 1 else 2_000,
        shard=True,
        num_evals=10,
        eval_samples=1024,
        save_minutes=30.0,
    )


def qwen_paper(stage: int) -> AptRecipe:
    """Return `qwen` as the paper's text has it where the code differs: 20 slots, 100k steps."""
    return replace(qwen(stage), apt=paper_apt(stage), steps=100_000)


RECIPES = {recipe.__name__: recipe for recipe in (small, light, tiny, qwen, qwen_paper)}


def styled(
    config: AptConfig, style: str | None, language: str | None, fusion: str | None = None
) -> AptConfig:
    """Return the expert in another style, with language or the backbone entering another way.

    Args:
        config: of a recipe.
        style: of STYLES; None keeps it.
        language: see `AptConfig`; None takes the style's own.
        fusion: of FUSIONS; None keeps the recipe's.

    Raises:
        CheckpointError: the style does not know that way, or has no fusion.
    """
    if style == "groot":
        config = groot_style(config)
    elif style == "pi":
        config = pi_style(config)
    if fusion is not None:
        if config.style != "apt":
            raise CheckpointError(
                f"--fusion is the form of gates that style {config.style} does not have; leave it "
                "away, or take style apt"
            )
        config = replace(config, fusion=fusion)
    return config if language is None else replace(config, language=language)
