"""Training of TAP's Stage 1 as its script does it, and the bare loop that it is compared with."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

import torch
from torch.nn import functional as F

from bench._data_bags import CAMERA_HZ, CAMERAS, write_bag
from training.convert import convert
from training.datasets.frames import MaxAge
from training.learning.ahead import Ahead
from training.learning.engine import PartLoss, make_job, train_step
from training.learning.processes import World
from training.learning.tap_data import TapBatch, stage_1_data
from training.learning.tap_recipes import TapRecipe, small
from vla_ros.core.contract import tap_contract
from vla_ros.policy.small_vlm import SmallVlm
from vla_ros.policy.tap import IGNORED, TapPolicy

SIZE, RATE_HZ = 128, 5.0
BAGS, SECONDS = 2, 20.0
# A random shift of the batches and their order.
SEED = 0

Steps = Callable[[int], None]


def write_play(folder: Path) -> Path:
    """Return a dataset of some play, with pictures like a camera's."""
    assert CAMERA_HZ > RATE_HZ
    bags = [folder / f"play-{number}" for number in range(BAGS)]
    for number, bag in enumerate(bags):
        write_bag(bag, SECONDS, number)
    convert(bags, folder / "data", tap_contract(CAMERAS[0], SIZE, RATE_HZ), MaxAge())
    return folder / "data"


@contextmanager
def contenders(dataset: Path, num_steps: int) -> Iterator[tuple[Steps, Steps, int]]:
    """Yield what takes so many steps of the script and of the bare loop, and samples a step.

    The bare loop runs forward, backward and AdamW of the same network at the same precision on one
    batch of random tensors in memory: it loads nothing, encodes no action, clips and logs nothing.
    """
    recipe = small(stage=1)
    torch.manual_seed(SEED)
    vlm = SmallVlm(recipe.small)
    data = stage_1_data([dataset], recipe, vlm.image_size)
    policy = TapPolicy(vlm, recipe.tap, data.fit_tokens(recipe.vocabulary))
    batches = Ahead(data.micro_batches(recipe, SEED, World()), 2 * num_steps)
    bare = _bare(deepcopy(policy), recipe, batches(0)[0])

    def loss(model: torch.nn.Module, batch: TapBatch) -> PartLoss:
        found = model(*batch)
        return PartLoss(found.total, found.count, {"token_accuracy": found.hits / found.count})

    def groups() -> list[dict]:
        return policy.optimizer_groups(recipe.peak_lr, recipe.weight_decay)

    job = make_job(policy, groups, batches, loss, recipe)
    taken = 0

    def steps(count: int) -> None:
        nonlocal taken
        for _ in range(count):
            train_step(job, taken)
            taken += 1

    try:
        yield steps, bare, recipe.batch_size
    finally:
        batches.close()


def _bare(policy: TapPolicy, recipe: TapRecipe, batch: TapBatch) -> Steps:
    images = 2 * torch.rand_like(batch.images) - 1
    suffix, target = policy.targets(batch.actions)

    def loss() -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bf16):
            logits = policy.vlm(images, None, suffix=suffix).logits
            return F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=IGNORED)

    policy.freeze_unreached(loss())
    optimizer = torch.optim.AdamW(policy.optimizer_groups(recipe.peak_lr, recipe.weight_decay))

    def steps(count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad(set_to_none=True)
            loss().backward()
            optimizer.step()

    return steps
