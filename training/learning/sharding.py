"""Weights, gradients and AdamW's moments spread over processes: FSDP2, torch's `fully_shard`.

For backbones that train whole and do not fit into one GPU with all of that. Each layer's weights
are put together while it computes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor


def shard(policy: nn.Module, device: torch.device, size: int) -> nn.Module:
    """Spread `policy` over `size` processes, in place; what trains is float32 from then on.

    What the shards are updated in has the precision for it, and all of a layer has one.
    """
    for parameter in policy.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    mesh = init_device_mesh(device.type, (size,))
    vlm: Any = policy.get_submodule("vlm")
    for part in (*vlm.shards, policy):
        fully_shard(part, mesh=mesh, reshard_after_forward=True)
    return policy


@contextmanager
def whole(model: nn.Module) -> Iterator[None]:
    """Let each process have all weights meanwhile and compute by itself; enter it in each."""
    parts = [module for module in model.modules() if isinstance(module, FSDPModule)]
    for part in parts:
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.set_reshard_after_forward(True, recurse=False)
            part.reshard()
        if isinstance(model, FSDPModule):
            # Who computed has noted an order of layers that the others do not know.
            model.reset_iter_state()


def gathered(tree: Any, is_kept: bool) -> Any:
    """Return dictionaries and lists with whole tensors on the CPU for sharded ones.

    Call it in each process with the same; where `is_kept` is False, tensors are dropped.
    """
    if isinstance(tree, DTensor):
        full = tree.full_tensor()
        return full.cpu() if is_kept else None
    if isinstance(tree, dict):
        return {name: gathered(value, is_kept) for name, value in tree.items()}
    if isinstance(tree, list):
        return [gathered(value, is_kept) for value in tree]
    return tree


def spread_like(value: Any, like: Tensor) -> Any:
    """Return this process's share of a whole tensor, where `like` is a share."""
    if not isinstance(like, DTensor) or not isinstance(value, Tensor) or value.shape != like.shape:
        return value
    # Each process has read it: nothing needs to be sent.
    value = value.to(like.device)
    return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)
