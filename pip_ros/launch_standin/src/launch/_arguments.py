"""Finds the arguments of a launch file, and those of the files it includes, without launching."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass

from launch._entities import LaunchContext, LaunchDescriptionEntity, perform_all
from launch._errors import LaunchError
from launch.actions import DeclareLaunchArgument, GroupAction, IncludeLaunchDescription


@dataclass(frozen=True)
class DeclaredArgument:
    """An argument that a user may give.

    Attributes:
        action: Its declaration.
        default: Its default as text, as a description where it is not known yet, or None.
        conditional: Whether a condition decides if it is declared at all.
    """

    action: DeclareLaunchArgument
    default: str | None
    conditional: bool


def declared_arguments(
    entities: Iterable[LaunchDescriptionEntity], context: LaunchContext
) -> dict[str, DeclaredArgument]:
    """Return the declared arguments by name; of two of one name, the first.

    Files to include are read where their path is known by now; one that is not there, or whose
    values an include fixes itself, adds none. ``context`` is given the defaults.
    """
    found: dict[str, DeclaredArgument] = {}
    _collect(entities, context, found, hidden=frozenset(), conditional=False)
    return found


def _collect(
    entities: Iterable[LaunchDescriptionEntity],
    context: LaunchContext,
    found: dict[str, DeclaredArgument],
    *,
    hidden: frozenset[str],
    conditional: bool,
) -> None:
    for entity in entities:
        unsure = conditional or getattr(entity, "condition", None) is not None
        if isinstance(entity, DeclareLaunchArgument):
            if entity.name not in hidden and entity.name not in found:
                default = _default_text(entity, context)
                found[entity.name] = DeclaredArgument(entity, default, unsure)
        elif isinstance(entity, GroupAction):
            _collect(entity.actions, context, found, hidden=hidden, conditional=unsure)
        elif isinstance(entity, IncludeLaunchDescription):
            with contextlib.suppress(LaunchError):
                _collect_included(entity, context, found, hidden=hidden, conditional=unsure)


def _collect_included(
    include: IncludeLaunchDescription,
    context: LaunchContext,
    found: dict[str, DeclaredArgument],
    *,
    hidden: frozenset[str],
    conditional: bool,
) -> None:
    if not include.source.location(context).is_file():
        return  # the visit will say so, if the include is really taken
    description = include.source.get_launch_description(context)
    fixed = {perform_all(context, name) for name, _ in include.launch_arguments}
    outer = context.current_launch_file_directory
    context.current_launch_file_directory = str(include.source.location(context).parent)
    try:
        _collect(
            description.entities,
            context,
            found,
            hidden=hidden | fixed,
            conditional=conditional,
        )
    finally:
        context.current_launch_file_directory = outer


def _default_text(argument: DeclareLaunchArgument, context: LaunchContext) -> str | None:
    if argument.default_value is None:
        return None
    try:
        text = perform_all(context, argument.default_value)
    except LaunchError:
        return " + ".join(part.describe() for part in argument.default_value)
    context.launch_configurations.setdefault(argument.name, text)
    return text


def check_arguments(
    given: dict[str, str], declared: dict[str, DeclaredArgument], file_name: str
) -> None:
    """Refuse unknown arguments, missing ones and values out of their choices.

    Raises:
        LaunchError: Names the argument and what is possible.
    """
    for name, value in given.items():
        if name not in declared:
            raise LaunchError(
                f"{file_name} has no launch argument {name!r}: "
                f"it has {', '.join(declared) or 'none'} (see --show-args)"
            )
        choices = declared[name].action.choices
        if choices is not None and value not in choices:
            raise LaunchError(
                f"the launch argument {name!r} cannot be {value!r}: "
                f"choose one of {', '.join(choices)}"
            )
    for name, argument in declared.items():
        if argument.default is None and name not in given and not argument.conditional:
            raise LaunchError(
                f"{file_name} needs the launch argument {name!r} ({argument.action.description}): "
                f"give {name}:=VALUE"
            )


def arguments_text(declared: dict[str, DeclaredArgument], file_name: str) -> str:
    """Return the text of ``--show-args``."""
    if not declared:
        return f"{file_name} takes no arguments."
    lines = [f"Arguments of {file_name} (give each as NAME:=VALUE):", ""]
    for name, argument in declared.items():
        lines.append(f"    {name}")
        if argument.action.description:
            lines.append(f"        {argument.action.description}")
        if argument.action.choices is not None:
            lines.append(f"        one of: {', '.join(argument.action.choices)}")
        default = "required" if argument.default is None else f"default: {argument.default!r}"
        lines.append(f"        {default}")
    return "\n".join(lines)
