"""Bfloat16 only where a recipe wants it and the CPU has instructions for it."""

import pytest
import torch

from training.learning import precision


@pytest.mark.parametrize(
    ("wanted", "amx", "avx", "dtype"),
    [
        (True, False, False, torch.float32),
        (True, True, False, torch.bfloat16),
        (True, False, True, torch.bfloat16),
        (False, True, True, torch.float32),
    ],
)
def test_a_cpu_that_would_imitate_bfloat16_computes_in_float32(
    monkeypatch, wanted, amx, avx, dtype
):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx)
    precision._is_fast.cache_clear()
    with precision.autocast("cpu", wanted):
        assert torch.nn.Linear(2, 2)(torch.ones(1, 2)).dtype == dtype
    precision._is_fast.cache_clear()
