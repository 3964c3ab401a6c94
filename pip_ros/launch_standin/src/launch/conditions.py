"""Conditions of actions."""

from __future__ import annotations

from launch._entities import LaunchContext, SomeSubstitutionsType, as_substitutions, perform_all
from launch._errors import LaunchError, missing_names

__getattr__ = missing_names("launch.conditions")


class Condition:
    """Base of the conditions."""

    def evaluate(self, context: LaunchContext) -> bool:
        """Return whether the action is to be done."""
        raise NotImplementedError


class IfCondition(Condition):
    """Holds when the text is true or 1, in any case and with spaces around it.

    Raises:
        LaunchError: On evaluation, when the text is none of true, 1, false, 0.
    """

    def __init__(self, predicate_expression: SomeSubstitutionsType) -> None:
        self.parts = as_substitutions(predicate_expression)

    def evaluate(self, context: LaunchContext) -> bool:
        text = perform_all(context, self.parts).strip().lower()
        if text in ("true", "1"):
            return True
        if text in ("false", "0"):
            return False
        described = " + ".join(part.describe() for part in self.parts)
        raise LaunchError(
            f"a condition of the launch file is {text!r} (from {described}): "
            "it must be true, 1, false or 0"
        )


class UnlessCondition(IfCondition):
    """Holds when the text is false or 0."""

    def evaluate(self, context: LaunchContext) -> bool:
        return not super().evaluate(context)
