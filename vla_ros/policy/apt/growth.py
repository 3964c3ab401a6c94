"""From Stage 1 to Stage 2: new layers between the old ones, everything else carried over."""

import torch
from torch import nn

from vla_ros.policy.apt.expert import AptExpert

# What the released loader takes from a Stage 1 checkpoint.
_RELEASED = "blocks."


@torch.no_grad()
def grow(first: AptExpert, second: AptExpert, released_loader: bool = False) -> None:
    """Copy a Stage 1 expert's weights into a fresh Stage 2 expert of the same sizes.

    Layer i of Stage 1 becomes the layer of the same slot, 2i + 1 where layers are inserted before
    their partners; its fusion is that of the slot too. Inserted layers keep their fresh weights,
    with `inserted_init` and `inserted_gate` of the config.

    Args:
        first: of Stage 1; not changed.
        second: of Stage 2; changed.
        released_loader: reproduce the authors' loader, which copies the attention blocks only and
            leaves input projections, encoders, step embedding, gates and head fresh.
    """
    assert (first.config.stage, second.config.stage) == (1, 2)
    place = {layer.slot: i for i, layer in enumerate(second.layers)}
    weights = second.state_dict()
    for name, value in first.state_dict().items():
        if name.startswith(_RELEASED):
            number, rest = name.removeprefix(_RELEASED).split(".", 1)
            name = f"{_RELEASED}{place[first.layers[int(number)].slot]}.{rest}"
        elif released_loader:
            continue
        assert weights[name].shape == value.shape
        weights[name] = value.clone()
    second.load_state_dict(weights)
    for block, fusion in second.inserted():
        if second.config.inserted_init == "zero":
            block.close()
        if fusion is not None:
            nn.init.constant_(fusion.gate, second.config.inserted_gate)


@torch.no_grad()
def close_language(expert: AptExpert) -> None:
    """Shut language out of a Stage 2 expert: it then computes what its Stage 1 did, bit for bit.

    Inserted layers, the only ones that see language, get output projections of zero; the fusions
    behind them, whose features Stage 1 did not have, get saturated gates. Vision-language tokens
    and actions pass both unchanged, and all other layers isolate language.
    """
    for block, fusion in expert.inserted():
        block.close()
        if fusion is not None:
            fusion.close()
