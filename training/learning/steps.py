"""What both stage scripts share: schedule, batches, one optimiser step, evaluation, resume."""

import io
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from training.learning.recipes import RunConfig
from training.learning.schedule import warm_up_and_cosine
from training.learning.tap_data import TapBatch
from training.provenance import code_version
from vla_ros.core.contract import Contract
from vla_ros.core.errors import CheckpointError
from vla_ros.policy.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from vla_ros.policy.normalize import Normalizer
from vla_ros.policy.tap import TapPolicy, action_loss, num_parameters

STATE_FILE = "training_state.pt"
METRICS_FILE = "metrics.json"
DIMENSIONS = ("dx", "dy", "dz", "drx", "dry", "drz", "gripper")
UNITS = ("m", "m", "m", "rad", "rad", "rad", "1 = open")
MAX_EVAL_SAMPLES = 1024
EVAL_BATCH = 64


@dataclass
class Progress:
    """Where a run is: steps done, curves so far, seconds spent in steps and in making batches."""

    step: int = 0
    train_curve: list[dict] = field(default_factory=list)
    val_curve: list[dict] = field(default_factory=list)
    step_seconds: float = 0.0
    loader_seconds: float = 0.0
    recent: list[float] = field(default_factory=list)


def learning_rate(step: int, config: RunConfig) -> float:
    """Return the rate of step `step` (from 0): linear warm-up, then a cosine to 0."""
    warmup = max(1, round(config.steps * config.warmup_fraction))
    return warm_up_and_cosine(config.peak_lr, step, warmup, config.steps)


def make_optimizer(policy: TapPolicy, config: RunConfig) -> torch.optim.AdamW:
    """Return AdamW over the trainable parameters; vectors and biases are not decayed."""
    trainable = [p for p in policy.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.peak_lr, betas=config.betas, fused=True)


def train_step(
    policy: TapPolicy,
    optimizer: torch.optim.Optimizer,
    batch: TapBatch,
    rate: float,
    config: RunConfig,
) -> float:
    """Take one optimiser step and return the batch's loss before it."""
    images, text, target = batch
    for group in optimizer.param_groups:
        group["lr"] = rate
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=config.bf16):
        predicted = policy(images, text)
    loss = action_loss(predicted, target)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_([p for p in policy.parameters() if p.requires_grad], config.clip)
    optimizer.step()
    return loss.item()


def advance(
    progress: Progress,
    policy: TapPolicy,
    optimizer: torch.optim.Optimizer,
    make_batch: Callable[[], TapBatch],
    config: RunConfig,
) -> float:
    """Take the next step, book its times and loss in `progress`, return its loss."""
    started = time.perf_counter()
    batch = make_batch()
    loaded = time.perf_counter()
    loss = train_step(policy, optimizer, batch, learning_rate(progress.step, config), config)
    progress.loader_seconds += loaded - started
    progress.step_seconds += time.perf_counter() - loaded
    progress.recent.append(loss)
    progress.step += 1
    log_every = max(1, config.steps // 100)
    if progress.step % log_every == 0 or progress.step == config.steps:
        progress.train_curve.append(
            {"step": progress.step, "loss": float(np.mean(progress.recent))}
        )
        progress.recent.clear()
    return loss


def is_eval_step(step: int, config: RunConfig) -> bool:
    """Return whether the held-out loss is due after `step` steps: evenly, and at the end."""
    return step == config.steps or step % math.ceil(config.steps / config.num_evals) == 0


@torch.inference_mode()
def predict(
    policy: TapPolicy, batches: list[TapBatch], bf16: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return predicted and true normalised actions (N, 7) float32 over `batches`."""
    policy.eval()
    predicted, target = [], []
    for images, text, actions in batches:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            predicted.append(policy(images, text).numpy())
        target.append(actions.numpy())
    policy.train()
    return np.concatenate(predicted), np.concatenate(target)


def eval_batches(
    indices: np.ndarray, make_batch: Callable[[np.ndarray], TapBatch]
) -> list[TapBatch]:
    """Return fixed batches over `indices`, evenly thinned to MAX_EVAL_SAMPLES."""
    if len(indices) > MAX_EVAL_SAMPLES:
        indices = indices[np.linspace(0, len(indices) - 1, MAX_EVAL_SAMPLES).astype(int)]
    return [make_batch(indices[i : i + EVAL_BATCH]) for i in range(0, len(indices), EVAL_BATCH)]


def held_out_metrics(
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


@dataclass(frozen=True)
class Run:
    """What is fixed over a run and written into its checkpoint.

    Attributes:
        facts: provenance that a resumed run must share: stage, recipe, config, seed, data.
    """

    out: Path
    config: RunConfig
    contract: Contract
    normalizer: Normalizer
    facts: dict

    def save(
        self,
        policy: TapPolicy,
        optimizer: torch.optim.Optimizer,
        progress: Progress,
        held_out: dict,
        is_final: bool,
    ) -> dict:
        """Write the checkpoint with metrics.json, and what resuming needs; return the metrics."""
        metrics = {
            **{k: self.facts[k] for k in ("stage", "recipe", "seed")},
            "steps": progress.step,
            "step_ms": 1000 * progress.step_seconds / max(1, progress.step),
            "loader_ms": 1000 * progress.loader_seconds / max(1, progress.step),
            "num_parameters": num_parameters(policy),
            **held_out,
            "train_curve": progress.train_curve,
            "val_curve": progress.val_curve,
        }
        files = {METRICS_FILE: (json.dumps(metrics, indent=2) + "\n").encode()}
        if not is_final:
            buffer = io.BytesIO()
            torch.save({"optimizer": optimizer.state_dict(), "progress": vars(progress)}, buffer)
            files[STATE_FILE] = buffer.getvalue()
        document = {
            **self.facts,
            "steps_done": progress.step,
            "torch": torch.__version__,
            "code_version": code_version(),
        }
        checkpoint = Checkpoint(policy, self.normalizer, self.contract, document)
        save_checkpoint(checkpoint, self.out, files)
        return metrics

    def resume(self, policy: TapPolicy, optimizer: torch.optim.Optimizer) -> Progress:
        """Load weights, optimiser and progress from `out` into the arguments.

        Returns:
            The progress; step equals config.steps for a run that had ended.

        Raises:
            CheckpointError: `out` is no checkpoint of this very run, or is damaged.
        """
        checkpoint = load_checkpoint(self.out, self.contract)
        facts = json.loads(json.dumps(self.facts))  # tuples come back from JSON as lists
        different = [k for k, v in facts.items() if checkpoint.run.get(k) != v]
        if different:
            raise CheckpointError(
                f"checkpoint {self.out} belongs to another run ({', '.join(different)} differ); "
                "resume with the same options, or give another --out"
            )
        policy.load_state_dict(checkpoint.policy.state_dict())
        if checkpoint.run["steps_done"] == self.config.steps:
            return Progress(step=self.config.steps)
        try:
            state = torch.load(self.out / STATE_FILE, weights_only=True)
            optimizer.load_state_dict(state["optimizer"])
            return Progress(**state["progress"])
        except Exception as error:  # the reader of damaged bytes raises nearly anything
            raise CheckpointError(
                f"{self.out / STATE_FILE} is missing or damaged ({type(error).__name__}); "
                "start this run again without --resume"
            ) from None


def closing_line(metrics: dict) -> str:
    """Return one line on what a run reached."""
    return (
        f"held-out loss {metrics['val_loss']:.4f}, constant prediction "
        f"{metrics['val_constant_loss']:.4f}; {metrics['steps']} steps of "
        f"{metrics['step_ms']:.0f} ms and {metrics['loader_ms']:.1f} ms of loading, "
        f"{metrics['num_parameters'] / 1e6:.2f} M parameters"
    )


def read_metrics(path: Path) -> dict:
    """Return the metrics.json of a checkpoint folder; raises CheckpointError if it is not there."""
    try:
        return json.loads((path / METRICS_FILE).read_text())
    except (OSError, ValueError):
        raise CheckpointError(
            f"{path / METRICS_FILE} is missing or damaged; start this run again without --resume"
        ) from None
