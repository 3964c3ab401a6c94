"""ROS parameters as a frozen dataclass: declared with description, range and unit, read once.

A field may be a group: a dataclass of `core.thresholds`, whose fields become parameters with dotted
names, like `exploration.x_low_m`.
"""

import dataclasses
import difflib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node

from vla_ros.core.errors import VlaError
from vla_ros.core.thresholds import is_within

Parameters = TypeVar("Parameters")

# Names that rclpy reads without declaring them.
_FOREIGN_PREFIXES = ("qos_overrides.",)


class ParameterError(VlaError):
    """A ROS parameter has a wrong type, an illegal value or an unknown name."""


def parameter(
    default: object,
    description: str,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    may_change: bool = False,
) -> Any:
    """Return a dataclass field for one ROS parameter.

    Args:
        default: its default; its type (bool, int, float, str, list of str) is the parameter's.
        description: one sentence for `ros2 param describe`.
        unit: appended to the description.
        low: lowest legal value, numbers only.
        high: highest legal value, numbers only.
        choices: the legal strings; empty means any.
        may_change: whether it may be set while the node runs; see `on_change`.
    """
    facts = {
        "description": description,
        "unit": unit,
        "low": low,
        "high": high,
        "choices": choices,
        "may_change": may_change,
    }
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: list(default), metadata=facts)
    return dataclasses.field(default=default, metadata=facts)


def group(parameters_class: type, prefix: str) -> Any:
    """Return a dataclass field for the parameters `prefix.NAME` of another dataclass.

    Groups may share a prefix; the dataclass may refuse what contradicts itself, by VlaError.
    """
    return dataclasses.field(default_factory=parameters_class, metadata={"prefix": prefix})


@dataclasses.dataclass(frozen=True)
class LifecycleParameters:
    """Parameters that every node of the package has besides its own."""

    autostart: bool = parameter(
        True, "Whether the node configures and activates itself; false: somebody else does."
    )


def declare(node: Node, parameters_class: type[Parameters]) -> Parameters:
    """Declare every field of `parameters_class` on the node and return the values it got.

    Raises:
        ParameterError: a value has the wrong type or is out of range, two contradict each other,
            or a name is unknown.
    """
    names = list(parameter_names(parameters_class))
    # Not public, but rclpy ignores misspelt names in silence.
    for name in node._parameter_overrides:
        is_known = name in names or node.has_parameter(name)
        if not is_known and not name.startswith(_FOREIGN_PREFIXES):
            near = difflib.get_close_matches(name, names) or sorted(
                {known.partition(".")[0] + ".*" * ("." in known) for known in names}
            )
            raise ParameterError(
                f"unknown parameter {name!r} of node {node.get_name()}: use one of {near}"
            )
    return declare_fields(node, parameters_class)


def parameter_names(parameters_class: type, prefix: str = "") -> Iterator[str]:
    """Yield the names of all parameters of a dataclass, those of its groups dotted."""
    for field in dataclasses.fields(parameters_class):
        if "prefix" in field.metadata:
            yield from parameter_names(field.default_factory, f"{field.metadata['prefix']}.")
        else:
            yield prefix + field.name


def declare_fields(node: Node, parameters_class: type[Parameters], prefix: str = "") -> Parameters:
    """Declare as `declare` does, and leave other names alone.

    Args:
        node: whose parameters they become.
        parameters_class: their dataclass.
        prefix: of their names, with its dot.

    Raises:
        ParameterError: a value has the wrong type or is out of range, or two contradict each other.
    """
    where = f"node {node.get_name()}"
    overrides = node._parameter_overrides
    values = {}
    defaults = parameters_class()
    for field in dataclasses.fields(parameters_class):
        if "prefix" in field.metadata:
            dotted = f"{field.metadata['prefix']}."
            values[field.name] = declare_fields(node, field.default_factory, dotted)
            continue
        name, default = prefix + field.name, _plain(getattr(defaults, field.name))
        if name in overrides:  # before rclpy does, whose refusal is a traceback
            _checked(name, field, default, overrides[name].value, where)
        descriptor = _descriptor(field, default)
        given = node.declare_parameter(name, _for_ros(default), descriptor).value
        values[field.name] = _checked(name, field, default, given, where)
    try:
        return parameters_class(**values)
    except VlaError as error:
        raise ParameterError(f"parameters {prefix}* of {where} cannot be used: {error}") from None


def on_change(
    node: Node, parameters_class: type, applies: dict[str, Callable[[Any], object]]
) -> None:
    """Have parameters that are set while the node runs checked, then handed on.

    Args:
        node: whose parameters they are.
        parameters_class: their dataclass, no field of a group.
        applies: by name, called with the new value; VlaError refuses it.
    """
    defaults, where = parameters_class(), f"node {node.get_name()}"
    fields = {field.name: field for field in dataclasses.fields(parameters_class)}

    def apply(given: list) -> SetParametersResult:
        try:
            values = {
                item.name: _checked(
                    item.name, fields[item.name], getattr(defaults, item.name), item.value, where
                )
                for item in given
                if item.name in applies
            }
            for name, value in values.items():
                applies[name](value)
        except VlaError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    node.add_on_set_parameters_callback(apply)


def changes(parameters: object, prefix: str = "") -> dict[str, object]:
    """Return by name what of the groups' parameters is not the default."""
    changed: dict[str, object] = {}
    defaults = type(parameters)()
    for field in dataclasses.fields(parameters):
        value = getattr(parameters, field.name)
        if "prefix" in field.metadata:
            changed |= changes(value, f"{field.metadata['prefix']}.")
        elif prefix and not np.array_equal(value, getattr(defaults, field.name)):
            changed[prefix + field.name] = _for_ros(_plain(value))
    return changed


def _plain(value: Any) -> Any:
    return tuple(value.tolist()) if isinstance(value, np.ndarray) else value


def _for_ros(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _descriptor(field: dataclasses.Field, default: object) -> ParameterDescriptor:
    facts = field.metadata
    low, high = facts["low"], facts["high"]
    unit = f" [{facts['unit']}]" if facts["unit"] else ""
    one_of = f" One of {', '.join(facts['choices'])}." if facts.get("choices") else ""
    # A descriptor's range is for single numbers only.
    each = f" {len(default)} numbers, each {low} to {high}." if isinstance(default, tuple) else ""
    # Dynamic typing lets `speed:=4` through as an integer; `_checked` is stricter and kinder.
    descriptor = ParameterDescriptor(
        description=f"{facts['description']}{unit}{one_of}{each}",
        read_only=not facts.get("may_change"),
        dynamic_typing=True,
    )
    if low is not None and high is not None and not isinstance(default, tuple):
        if isinstance(default, float):
            limits = FloatingPointRange(from_value=float(low), to_value=float(high))
            descriptor.floating_point_range = [limits]
        else:
            limits = IntegerRange(from_value=int(low), to_value=int(high), step=1)
            descriptor.integer_range = [limits]
    return descriptor


def _checked(name: str, field: dataclasses.Field, default: Any, value: Any, where: str) -> Any:
    facts = field.metadata
    value = _typed(f"parameter {name} of {where}", default, value)
    low, high = facts["low"], facts["high"]
    too_low = low is not None and not is_within(value, low, np.inf)
    if too_low or (high is not None and not is_within(value, -np.inf, high)):
        unit = f" {facts['unit']}" if facts["unit"] else ""
        raise ParameterError(
            f"parameter {name} of {where} must lie in {low} to {high}{unit}, got {value!r}"
        )
    if facts.get("choices") and value not in facts["choices"]:
        raise ParameterError(
            f"parameter {name} of {where} must be one of {', '.join(facts['choices'])}, "
            f"got {value!r}"
        )
    return value


def _typed(what: str, default: Any, value: Any) -> Any:
    """Return the value as the default's type, a whole number as a float where that is asked for."""
    expected = type(default)
    if expected is float and type(value) is int:
        value = float(value)
    if expected in (list, tuple) and value is not None and not isinstance(value, (str, bytes)):
        # rclpy gives arrays of its own; a single number is none, and is refused below.
        value = expected(value) if hasattr(value, "__len__") else value
    if expected is tuple:
        numbers = isinstance(value, tuple) and all(type(item) in (int, float) for item in value)
        if not numbers or len(value) != len(default):
            raise ParameterError(f"{what} must be {len(default)} numbers, got {value!r}")
        return tuple(map(float, value))
    if type(value) is not expected:
        raise ParameterError(f"{what} must be a {expected.__name__}, got {value!r}")
    return value
