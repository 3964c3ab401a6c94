"""Substitutions: text that is known only while launching."""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Iterable

from launch._entities import (
    LaunchContext,
    SomeSubstitutionsType,
    Substitution,
    TextSubstitution,
    as_substitutions,
    perform_all,
)
from launch._errors import LaunchError, missing_names, near_names

__all__ = [
    "EnvironmentVariable",
    "EqualsSubstitution",
    "LaunchConfiguration",
    "NotEqualsSubstitution",
    "PathJoinSubstitution",
    "PythonExpression",
    "TextSubstitution",
    "ThisLaunchFileDir",
]

__getattr__ = missing_names("launch.substitutions")


def _described(parts: Iterable[Substitution]) -> str:
    return " + ".join(part.describe() for part in parts)


class LaunchConfiguration(Substitution):
    """The value of a launch argument."""

    def __init__(
        self, variable_name: SomeSubstitutionsType, *, default: SomeSubstitutionsType | None = None
    ) -> None:
        self.variable_name = as_substitutions(variable_name)
        # Plain values such as 5 are taken as their text, as the real class does.
        self.default = (
            None
            if default is None
            else as_substitutions(str(default) if isinstance(default, (int, float)) else default)
        )

    def describe(self) -> str:
        return f"LaunchConfiguration({_described(self.variable_name)})"

    def perform(self, context: LaunchContext) -> str:
        name = perform_all(context, self.variable_name)
        if name in context.launch_configurations:
            return context.launch_configurations[name]
        if self.default is not None:
            return perform_all(context, self.default)
        raise LaunchError(
            f"the launch file uses the argument {name!r} where it has no value: declare it first "
            f"(there are: {near_names(name, context.launch_configurations)})"
        )


class EnvironmentVariable(Substitution):
    """The value of an environment variable."""

    def __init__(
        self, name: SomeSubstitutionsType, *, default_value: SomeSubstitutionsType | None = None
    ) -> None:
        self.name = as_substitutions(name)
        self.default_value = None if default_value is None else as_substitutions(default_value)

    def describe(self) -> str:
        return f"EnvironmentVariable({_described(self.name)})"

    def perform(self, context: LaunchContext) -> str:
        name = perform_all(context, self.name)
        if name in context.environment:
            return context.environment[name]
        if self.default_value is not None:
            return perform_all(context, self.default_value)
        raise LaunchError(f"the launch file needs the environment variable {name}: set it")


class PathJoinSubstitution(Substitution):
    """Parts joined to a path."""

    def __init__(self, substitutions: Iterable[str | Substitution]) -> None:
        self.parts = as_substitutions(list(substitutions))

    def describe(self) -> str:
        return f"PathJoin({', '.join(part.describe() for part in self.parts)})"

    def perform(self, context: LaunchContext) -> str:
        return os.path.join(*(context.perform_substitution(part) for part in self.parts))


class PythonExpression(Substitution):
    """The text of an evaluated Python expression."""

    def __init__(
        self, expression: SomeSubstitutionsType, python_modules: Iterable[str] = ("math",)
    ) -> None:
        self.expression = as_substitutions(expression)
        self.python_modules = list(python_modules)

    def describe(self) -> str:
        return f"PythonExpression({_described(self.expression)})"

    def perform(self, context: LaunchContext) -> str:
        expression = perform_all(context, self.expression)
        names: dict[str, object] = {}
        for module_name in self.python_modules:
            module = importlib.import_module(module_name)
            names.update(vars(module) if module_name == "math" else {})
            names[module_name] = module
        try:
            # A launch file is a program already: it gains nothing by being evaluated here.
            return str(eval(expression, {}, names))
        except Exception as error:
            raise LaunchError(
                f"the launch file's expression {expression!r} failed: "
                f"{type(error).__name__}: {error}"
            ) from error


def _as_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


class EqualsSubstitution(Substitution):
    """``true`` or ``false``: whether two texts mean the same.

    Truth words (true, false, 1, 0) are compared as truth values, numbers as numbers, all else as
    text.
    """

    def __init__(self, left: SomeSubstitutionsType, right: SomeSubstitutionsType) -> None:
        self.left = _as_operand(left)
        self.right = _as_operand(right)

    def describe(self) -> str:
        return f"{type(self).__name__}({_described(self.left)}, {_described(self.right)})"

    def _equal(self, context: LaunchContext) -> bool:
        left, right = perform_all(context, self.left), perform_all(context, self.right)
        truth_words = ("true", "false", "1", "0")
        if left.lower() in truth_words and right.lower() in truth_words:
            return (left.lower() in ("true", "1")) == (right.lower() in ("true", "1"))
        left_number, right_number = _as_number(left), _as_number(right)
        if left_number is not None and right_number is not None:
            return math.isclose(left_number, right_number)
        return left == right

    def perform(self, context: LaunchContext) -> str:
        return "true" if self._equal(context) else "false"


class NotEqualsSubstitution(EqualsSubstitution):
    """The opposite of EqualsSubstitution."""

    def perform(self, context: LaunchContext) -> str:
        return "false" if self._equal(context) else "true"


def _as_operand(value: SomeSubstitutionsType) -> list[Substitution]:
    return as_substitutions(str(value) if isinstance(value, (bool, int, float)) else value)


class ThisLaunchFileDir(Substitution):
    """The folder of the launch file that is being visited."""

    def perform(self, context: LaunchContext) -> str:
        if context.current_launch_file_directory is None:
            raise LaunchError(
                "ThisLaunchFileDir() was used after its launch file had been read: "
                "use PathJoinSubstitution([FindPackageShare(…), 'launch']) there"
            )
        return context.current_launch_file_directory
