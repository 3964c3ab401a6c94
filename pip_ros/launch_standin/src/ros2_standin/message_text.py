"""Messages as YAML text for ``ros2 topic echo``."""

from __future__ import annotations

from collections.abc import Sequence

import yaml

_LONGEST = 128  # elements of an array, or characters of a string, that are shown


def message_text(message: object) -> str:
    """Return a ROS message as YAML; long arrays and strings are cut short with ``...``."""
    return yaml.safe_dump(
        plain(message), sort_keys=False, allow_unicode=True, width=float("inf")
    ).rstrip("\n")


def plain(value: object) -> object:
    """Turn a message into dictionaries, lists and scalars."""
    if hasattr(value, "get_fields_and_field_types"):
        return {name: plain(getattr(value, name)) for name in value.get_fields_and_field_types()}
    if isinstance(value, str):
        return value if len(value) <= _LONGEST else value[:_LONGEST] + "..."
    if isinstance(value, bytes) and len(value) == 1:
        return value[0]  # the type octet
    if isinstance(value, Sequence) or hasattr(value, "tolist"):
        shown = [plain(item) for item in value[:_LONGEST]]  # type: ignore[index]
        return [*shown, "..."] if len(value) > _LONGEST else shown  # type: ignore[arg-type]
    if hasattr(value, "item"):
        return value.item()
    return value
