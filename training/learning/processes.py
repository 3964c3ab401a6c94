"""Training over several processes, as `torchrun` starts them; one process is the same code.

torchrun --nproc-per-node 2 --shutdown-timeout 600 -m training.stage1_apt --data data/play \
    --out ckpt/stage1

Ctrl-C waits for a step and for saving, which torchrun gives 30 s unless told otherwise.

Each process holds the whole policy (DistributedDataParallel), or a share of it (`sharding`).
"""

import os
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from vla_ros.core.errors import VlaError


@dataclass(frozen=True)
class World:
    """The processes of a run.

    Attributes:
        rank: this one, from 0; only rank 0 writes and prints.
        size: how many there are.
        device: this one's.
        local_size: how many there are on this machine.
        by_torchrun: whether torchrun has started this process and passes signals on to it.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = torch.device("cpu")
    local_size: int = 1
    by_torchrun: bool = False

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def sum(self, numbers: Tensor) -> Tensor:
        """Return `numbers` summed over all processes; call it in each."""
        if self.size > 1:
            numbers = numbers.clone()
            dist.all_reduce(numbers)
        return numbers

    def any(self, *facts: bool) -> tuple[bool, ...]:
        """Return of each fact whether it holds in some process; call it in each."""
        if self.size == 1:
            return facts
        counts = self.sum(torch.tensor(facts, dtype=torch.int32, device=self.device))
        return tuple(count > 0 for count in counts.tolist())

    def wait(self) -> None:
        """Return when every process has come here: files of rank 0 are there to read."""
        self.any(False)

    def spread(self, policy: nn.Module, is_sharded: bool = False) -> nn.Module:
        """Return what to call in place of `policy`, so that gradients are averaged over processes.

        All that trains must get a gradient at every step: freeze the rest before. `is_sharded`:
        each process keeps a share of the weights alone, in `policy` itself.
        """
        if self.size == 1:
            return policy
        if is_sharded:
            # Half a second of imports that nobody else needs.
            from training.learning.sharding import shard

            return shard(policy, self.device, self.size)
        return DistributedDataParallel(policy)

    def share(self, batch_size: int, accumulation: int = 1) -> int:
        """Return this process's samples a step out of `batch_size` of all.

        Raises:
            VlaError: processes times micro-batches do not divide it.
        """
        if batch_size % (self.size * accumulation):
            raise VlaError(
                f"a batch of {batch_size} cannot be shared by {self.size} processes with "
                f"{accumulation} parts each; choose a batch size that they divide"
            )
        return batch_size // self.size


def join(device: str = "cpu") -> World:
    """Return the world that `torchrun` describes, or this process alone; call `leave` at the end.

    Raises:
        VlaError: torchrun's variables are not numbers, or the others cannot be reached.
    """
    if "WORLD_SIZE" not in os.environ:
        return World(device=torch.device(device))
    try:
        rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        local = int(os.environ.get("LOCAL_RANK", rank))
        neighbours = int(os.environ.get("LOCAL_WORLD_SIZE", size))
    except (KeyError, ValueError) as error:
        raise VlaError(
            f"RANK, WORLD_SIZE and LOCAL_RANK must be numbers ({error}); start by torchrun"
        ) from None
    here = torch.device("cuda", local) if device == "cuda" else torch.device(device)
    if size > 1:
        try:
            dist.init_process_group("nccl" if here.type == "cuda" else "gloo")
        except (RuntimeError, ValueError) as error:
            raise VlaError(
                f"process {rank} of {size} cannot reach the others "
                f"({str(error).splitlines()[0]}); start all by torchrun"
            ) from None
    return World(rank, size, here, neighbours, by_torchrun=True)


def leave(world: World) -> None:
    """Part from the other processes."""
    if world.size > 1:
        dist.destroy_process_group()
