"""Dataclass fields that say what they mean, in which unit, and in which range they are legal."""

from collections.abc import Sequence
from dataclasses import field, fields
from typing import Any

import numpy as np

from vla_ros.core.errors import SafetyError

Bound = float | tuple[float, ...]


def threshold(
    default: float | tuple[float, ...], low: Bound, high: Bound, unit: str, description: str
) -> Any:
    """Return a dataclass field with its facts in the metadata.

    Args:
        default: a number, or a tuple of numbers, whose length is then the only legal one.
        low, high: the legal range; for a tuple, one for all its numbers or one for each.
        unit: "1" where it has none.
        description: a few words.
    """
    size = len(default) if isinstance(default, tuple) else None
    facts = {"low": low, "high": high, "unit": unit, "description": description, "size": size}
    return field(default=default, metadata=facts)


def is_within(value: float | Sequence[float], low: Bound, high: Bound) -> bool:
    """Return whether the value, or every number of it, is in the range; NaN is not."""
    numbers = np.asarray(value, dtype=np.float64)
    return bool(np.all((numbers >= low) & (numbers <= high)))


def require_ranges(thresholds: Any) -> None:
    """Raise SafetyError where a field made by `threshold` is out of its range."""
    for item in fields(thresholds):
        value, facts = getattr(thresholds, item.name), item.metadata
        if facts["size"] is not None and np.shape(value) != (facts["size"],):
            raise SafetyError(
                f"{item.name} ({facts['description']}) must be {facts['size']} numbers, got {value}"
            )
        if not is_within(value, facts["low"], facts["high"]):
            raise SafetyError(
                f"{item.name} ({facts['description']}) must be from {facts['low']} to "
                f"{facts['high']} {facts['unit']}, got {value}"
            )
