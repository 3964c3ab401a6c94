"""ROS parameters as a frozen dataclass: declared with description, range and unit, read once."""

import dataclasses
from typing import TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node

from vla_ros.core.errors import VlaError

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
) -> object:
    """Return a dataclass field for one ROS parameter.

    Args:
        default: its default; its type (bool, int, float, str, list of str) is the parameter's.
        description: one sentence for `ros2 param describe`.
        unit: appended to the description.
        low: lowest legal value, numbers only.
        high: highest legal value, numbers only.
        choices: the legal strings; empty means any.
    """
    facts = {
        "description": description,
        "unit": unit,
        "low": low,
        "high": high,
        "choices": choices,
    }
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: list(default), metadata=facts)
    return dataclasses.field(default=default, metadata=facts)


@dataclasses.dataclass(frozen=True)
class LifecycleParameters:
    """Parameters that every node of the package has besides its own."""

    autostart: bool = parameter(
        True, "Whether the node configures and activates itself; false: somebody else does."
    )


def declare(node: Node, parameters_class: type[Parameters]) -> Parameters:
    """Declare every field of `parameters_class` on the node and return the values it got.

    Raises:
        ParameterError: a value has the wrong type or is out of range, or a name is unknown.
    """
    names = [field.name for field in dataclasses.fields(parameters_class)]
    # Not public, but rclpy ignores misspelt names in silence.
    for name in node._parameter_overrides:
        is_known = name in names or node.has_parameter(name)
        if not is_known and not name.startswith(_FOREIGN_PREFIXES):
            raise ParameterError(
                f"unknown parameter {name!r} of node {node.get_name()}: use one of {names}"
            )
    return declare_fields(node, parameters_class)


def declare_fields(node: Node, parameters_class: type[Parameters]) -> Parameters:
    """Declare as `declare` does, and leave other names alone.

    Raises:
        ParameterError: a value has the wrong type or is out of range.
    """
    where = f"node {node.get_name()}"
    overrides = node._parameter_overrides
    values = {}
    defaults = parameters_class()
    for field in dataclasses.fields(parameters_class):
        default = getattr(defaults, field.name)
        if field.name in overrides:  # before rclpy does, whose refusal is a traceback
            _checked(field, default, overrides[field.name].value, where)
        given = node.declare_parameter(field.name, default, _descriptor(field, default)).value
        values[field.name] = _checked(field, default, given, where)
    return parameters_class(**values)


def _descriptor(field: dataclasses.Field, default: object) -> ParameterDescriptor:
    facts = field.metadata
    unit = f" [{facts['unit']}]" if facts["unit"] else ""
    one_of = f" One of {', '.join(facts['choices'])}." if facts["choices"] else ""
    # Dynamic typing lets `speed:=4` through as an integer; `_checked` is stricter and kinder.
    descriptor = ParameterDescriptor(
        description=f"{facts['description']}{unit}{one_of}", read_only=True, dynamic_typing=True
    )
    low, high = facts["low"], facts["high"]
    if low is not None and high is not None:
        if isinstance(default, float):
            limits = FloatingPointRange(from_value=float(low), to_value=float(high))
            descriptor.floating_point_range = [limits]
        else:
            limits = IntegerRange(from_value=int(low), to_value=int(high), step=1)
            descriptor.integer_range = [limits]
    return descriptor


def _checked(field: dataclasses.Field, default: object, value: object, where: str) -> object:
    facts = field.metadata
    expected = type(default)
    if expected is float and type(value) is int:
        value = float(value)
    if expected is list and not isinstance(value, (str, bytes)) and value is not None:
        value = list(value)
    if type(value) is not expected:
        raise ParameterError(
            f"parameter {field.name} of {where} must be a {expected.__name__}, got {value!r}"
        )
    low, high = facts["low"], facts["high"]
    if (low is not None and not value >= low) or (high is not None and not value <= high):
        unit = f" {facts['unit']}" if facts["unit"] else ""
        raise ParameterError(
            f"parameter {field.name} of {where} must lie in {low} to {high}{unit}, got {value!r}"
        )
    if facts["choices"] and value not in facts["choices"]:
        raise ParameterError(
            f"parameter {field.name} of {where} must be one of {', '.join(facts['choices'])}, "
            f"got {value!r}"
        )
    return value
