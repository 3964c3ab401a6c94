"""Where bfloat16 pays: on GPUs, and on CPUs that have instructions for it."""

from functools import cache

import torch


def autocast(device: str, wanted: bool) -> torch.autocast:
    """Return the context of a forward pass: in bfloat16 where a recipe wants it and it is fast.

    Args:
        device: its kind, "cpu" or "cuda".
        wanted: whether the recipe does.
    """
    return torch.autocast(device, torch.bfloat16, enabled=wanted and _is_fast(device))


@cache
def _is_fast(device: str) -> bool:
    # Without AMX or AVX512-BF16 a CPU imitates it: a linear layer took 3 to 30 times as long as in
    # float32, and a third of it with AMX.
    if device != "cpu":
        return True
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
