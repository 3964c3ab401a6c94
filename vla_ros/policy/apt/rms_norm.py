"""RMSNorm with a gradient written out: an expert's step has some eighty of them.

What autograd makes of PyTorch's CPU form goes over the numbers about twice as often.
"""

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

NORM_EPS = 1e-6


def rms_norm(x: Tensor, gain: Tensor | None) -> Tensor:
    """Return x (..., W), of mean square 1 over its last axis, times `gain`, of x's type.

    `gain` is (W,) or broadcasts to x, in float32; None: 1.
    """
    if torch.compiler.is_compiling():
        # A compiler goes over the numbers once, whatever is written.
        normed = F.rms_norm(x.float(), x.shape[-1:], eps=NORM_EPS)
        return (normed if gain is None else normed * gain).to(x.dtype)
    if torch.is_grad_enabled() and x.device.type == "cpu":
        return cast(Tensor, _RmsNorm.apply(x, gain))
    # Without gradients, PyTorch's own has less to call.
    if gain is None or (gain.ndim == 1 and gain.dtype == x.dtype):
        return F.rms_norm(x, x.shape[-1:], gain, NORM_EPS)
    return F.rms_norm(x, x.shape[-1:], eps=NORM_EPS) * gain.to(x.dtype)


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor | None) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            wide = x.float()
            scale = wide.square().mean(-1, keepdim=True).add_(NORM_EPS).rsqrt_()
            ctx.save_for_backward(x, gain, scale)
            normed = wide * scale
            return (normed if gain is None else normed.mul_(gain)).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None]:
        x, gain, scale = ctx.saved_tensors
        with torch.autocast(x.device.type, enabled=False):
            gradient = gradients[0].float()
            normed = x.float() * scale
            both = gradient * normed
            of_gain = None
            if gain is not None:
                rows = both.flatten(0, -1 - gain.ndim)
                # One product with ones: a sum over outer axes is slow.
                of_gain = torch.ones(1, len(rows), device=x.device) @ rows.flatten(1)
                of_gain = of_gain.view(rows.shape[1:]).sum_to_size(gain.shape)
                both, gradient = both.mul_(gain), gradient * gain
            inner = both.mean(-1, keepdim=True)
            of_x = torch.addcmul(gradient, normed, inner, value=-1.0).mul_(scale)
            return of_x.to(x.dtype), of_gain
