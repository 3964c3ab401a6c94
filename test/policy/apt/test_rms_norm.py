"""The norm whose gradient is written out is PyTorch's."""

import pytest
import torch
from torch.nn import functional as F

from vla_ros.policy.apt.rms_norm import NORM_EPS, rms_norm


@pytest.mark.parametrize(
    ("shape", "gains"),
    [((3, 5, 8), (8,)), ((2, 3, 2, 4, 8), (2, 1, 8)), ((2, 3, 1, 4, 8), (1, 1, 8))],
)
def test_values_and_gradients_are_those_of_pytorch(shape, gains):
    torch.manual_seed(0)
    x, gain = torch.randn(shape).requires_grad_(), torch.randn(gains).requires_grad_()
    weights = torch.randn(shape)
    expected = F.rms_norm(x, (8,), eps=NORM_EPS) * gain
    wanted = torch.autograd.grad((expected * weights).sum(), [x, gain])
    own = rms_norm(x, gain)
    found = torch.autograd.grad((own * weights).sum(), [x, gain])
    torch.testing.assert_close(own, expected)
    torch.testing.assert_close(found, wanted)
    with torch.no_grad():
        torch.testing.assert_close(rms_norm(x, gain), expected)


def test_bfloat16_stays_bfloat16_and_is_rounded_once():
    x, gain = torch.randn(4, 8).bfloat16().requires_grad_(), torch.ones(8, requires_grad=True)
    own = rms_norm(x, gain)
    (of_x, of_gain) = torch.autograd.grad(own.float().sum(), [x, gain])
    assert (own.dtype, of_x.dtype, of_gain.dtype) == (torch.bfloat16, torch.bfloat16, torch.float32)
    expected = F.rms_norm(x.detach().float(), (8,), eps=NORM_EPS).bfloat16()
    torch.testing.assert_close(own, expected, rtol=0, atol=0)
    with torch.no_grad():
        assert rms_norm(x, gain).dtype == torch.bfloat16
