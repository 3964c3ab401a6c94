"""Counting and freezing parameters of any policy."""

from torch import Tensor, autograd, nn


def num_parameters(module: nn.Module) -> int:
    """Return the number of scalars in the module's parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def unreached(module: nn.Module, loss: Tensor) -> dict[str, nn.Parameter]:
    """Return the trainable parameters, by name, that are not in the graph of `loss`."""
    trainable = {name: p for name, p in module.named_parameters() if p.requires_grad}
    gradients = autograd.grad(loss, list(trainable.values()), allow_unused=True, retain_graph=True)
    pairs = zip(trainable.items(), gradients, strict=True)
    return {name: parameter for (name, parameter), gradient in pairs if gradient is None}
