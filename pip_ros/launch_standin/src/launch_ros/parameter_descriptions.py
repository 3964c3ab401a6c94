"""Parameter values with a type."""

from __future__ import annotations

from launch._errors import missing_names

__getattr__ = missing_names("launch_ros.parameter_descriptions")


class ParameterValue:
    """A parameter's value, and the type that its text is to become.

    Args:
        value: Text, substitutions, a number, a truth value or a list of one kind.
        value_type: str, int, float, bool, or List[…] of one of them; None lets YAML decide.
    """

    def __init__(self, value: object, *, value_type: object = None) -> None:
        self.value = value
        self.value_type = value_type
