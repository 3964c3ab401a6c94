"""Evaluates parameters as launch_ros does, and writes the files that nodes read them from.

Where a value is text from substitutions, YAML's rules give it a type unless a ParameterValue names
one. Plain strings of a launch file stay strings.
"""

from __future__ import annotations

import os
import tempfile
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml
from launch._entities import LaunchContext, Substitution, as_substitutions, perform_all
from launch._errors import LaunchError
from launch_ros.parameter_descriptions import ParameterValue

Scalar = bool | int | float | str
Value = Scalar | list[Scalar]
_SCALARS = (bool, int, float, str)


def evaluate_parameters(
    parameters: Mapping[object, object], context: LaunchContext, prefix: str = ""
) -> dict[str, Value]:
    """Return parameter values by name; nested dictionaries become dotted names.

    Raises:
        LaunchError: A value has no legal type; names the parameter.
    """
    values: dict[str, Value] = {}
    for key, value in parameters.items():
        name = prefix + perform_all(context, as_substitutions(key))  # type: ignore[arg-type]
        if isinstance(value, Mapping):
            values.update(evaluate_parameters(value, context, prefix=f"{name}."))
        else:
            values[name] = _evaluate(name, value, context)
    return values


def _evaluate(name: str, value: object, context: LaunchContext) -> Value:
    if isinstance(value, ParameterValue):
        return _evaluate_typed(name, value, context)
    if isinstance(value, _SCALARS):
        return value
    if isinstance(value, Substitution):
        return _from_yaml(name, perform_all(context, [value]))
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return _evaluate_sequence(name, list(value), context)
    raise LaunchError(
        f"the parameter {name!r} is {value!r} in the launch file: a parameter is a truth value, a "
        "number, a string or a list of one of them"
    )


def _evaluate_sequence(name: str, items: list[object], context: LaunchContext) -> Value:
    if _are_text_parts(items):
        return _from_yaml(name, perform_all(context, as_substitutions(items)))  # type: ignore
    values = [
        _from_yaml(name, perform_all(context, as_substitutions(item)))  # type: ignore[arg-type]
        if isinstance(item, (Substitution, list, tuple))
        else item
        for item in items
    ]
    if values and all(type(item) in (int, float) for item in values):
        kind = int if all(type(item) is int for item in values) else float
        return [kind(item) for item in values]  # type: ignore[arg-type]
    return _uniform(name, values)


def _are_text_parts(items: list[object]) -> bool:
    """Whether a list is one text in parts (as launch_ros reads it), not a list of values."""
    return any(isinstance(item, Substitution) for item in items) and all(
        isinstance(item, (str, Substitution)) for item in items
    )


def _from_yaml(name: str, text: str) -> Value:
    if not text:
        return ""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = None
    if isinstance(value, list):
        return _uniform(name, value)
    if not isinstance(value, _SCALARS):
        raise LaunchError(
            f"the parameter {name!r} got {text!r}, which is no YAML scalar or list: if it is a "
            "string, the launch file must say ParameterValue(…, value_type=str)"
        )
    return value


def _uniform(name: str, values: list[object]) -> list[Scalar]:
    kinds = {type(item) for item in values}
    if len(kinds) != 1 or not kinds <= set(_SCALARS):
        raise LaunchError(
            f"the parameter {name!r} is the list {values!r}: "
            "it needs at least one value, and all of one type"
        )
    return values  # type: ignore[return-value]


def _evaluate_typed(name: str, parameter: ParameterValue, context: LaunchContext) -> Value:
    value, wanted = parameter.value, parameter.value_type
    parts = [value] if isinstance(value, Substitution) else value
    if isinstance(parts, (list, tuple)) and _are_text_parts(list(parts)):
        text = perform_all(context, as_substitutions(parts))  # type: ignore[arg-type]
        return _from_yaml(name, text) if wanted is None else _coerce(name, text, wanted)
    evaluated = _evaluate(name, value, context)
    if wanted is not None and not _is_of(evaluated, wanted):
        raise LaunchError(
            f"the parameter {name!r} is {evaluated!r}, not of the type {_name_of(wanted)} that the "
            "launch file gives it: make both agree"
        )
    return evaluated


def _is_of(value: object, wanted: object) -> bool:
    if typing.get_origin(wanted) is list:
        (item_type,) = typing.get_args(wanted)
        return isinstance(value, list) and all(_is_of(item, item_type) for item in value)
    return type(value) is wanted  # no int for a float in a list: the real package refuses it too


def _coerce(name: str, text: str, wanted: object) -> Value:
    """Turn text into the wanted type; text that must stay text is returned untouched."""
    if wanted is str:
        return text
    try:
        if wanted in (int, float):
            return wanted(text)  # type: ignore[operator]
        value = yaml.safe_load({"1": "true", "0": "false"}.get(text, text))
        if wanted is not bool and typing.get_origin(wanted) is not list:
            raise LaunchError(
                f"the parameter {name!r} has value_type={wanted!r}: "
                "use str, int, float, bool or List[…] of one of them"
            )
        if _is_of(value, wanted):
            return value
    except (ValueError, yaml.YAMLError):
        pass
    raise LaunchError(f"the parameter {name!r} got {text!r}, which is no {_name_of(wanted)}")


def _name_of(wanted: object) -> str:
    return wanted.__name__ if isinstance(wanted, type) else str(wanted)


class _Dumper(yaml.SafeDumper):
    """Quotes every string: the nodes' parser takes unquoted 1e3, y or ~ for something else."""


def _quoted(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')


_Dumper.add_representer(str, _quoted)


def parameter_yaml(values: Mapping[str, Value], node_name: str = "/**") -> str:
    """Return the text of a parameter file for the node ``node_name``.

    Raises:
        LaunchError: A string holds what a parameter cannot carry (a NUL, or bytes that are no
            UTF-8).
    """
    for name, value in values.items():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and ("\0" in text or _has_surrogate(text)):
                raise LaunchError(
                    f"the parameter {name!r} holds a NUL or bytes that are no UTF-8 ({text!r}): "
                    "give plain text"
                )
    return yaml.dump(
        {node_name: {"ros__parameters": dict(values)}}, Dumper=_Dumper, width=float("inf")
    )


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def write_parameter_file(directory: Path, values: Mapping[str, Value], node_name: str) -> Path:
    """Write a parameter file under ``directory`` and return its path."""
    text = parameter_yaml(values, node_name)
    descriptor, path = tempfile.mkstemp(prefix="launch_params_", suffix=".yaml", dir=directory)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    return Path(path)
