"""Context, text substitution and the visiting of a launch description."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from launch._errors import REAL_PACKAGE_HINT, LaunchError, NotInStandInError, refuse_keywords

if TYPE_CHECKING:
    from launch._runtime import Runtime
    from launch.conditions import Condition
    from launch.events.process import ProcessExited


class Substitution:
    """Text that is known only while launching."""

    def perform(self, context: LaunchContext) -> str:
        """Return the text."""
        raise NotImplementedError

    def describe(self) -> str:
        """Return a readable form for ``--show-args``."""
        return f"{type(self).__name__}()"


class TextSubstitution(Substitution):
    """A substitution that is already text."""

    def __init__(self, *, text: str) -> None:
        if not isinstance(text, str):
            raise LaunchError(
                f"TextSubstitution(text=…) wants a string, not {text!r}: write {str(text)!r}"
            )
        self.text = text

    def perform(self, context: LaunchContext) -> str:
        return self.text

    def describe(self) -> str:
        return repr(self.text)


SomeSubstitutionsType = str | Substitution | Iterable[str | Substitution]


def as_substitutions(value: SomeSubstitutionsType) -> list[Substitution]:
    """Turn a string, a substitution or a sequence of them into a list of substitutions."""
    if isinstance(value, str):
        return [TextSubstitution(text=value)]
    if isinstance(value, os.PathLike):
        return [TextSubstitution(text=os.fspath(value))]
    if isinstance(value, Substitution):
        return [value]
    if isinstance(value, (list, tuple)):
        return [part for item in value for part in as_substitutions(item)]
    raise LaunchError(
        f"a launch file gave {value!r} where text belongs: "
        "write a string, a substitution or a list of them"
    )


def perform_all(context: LaunchContext, parts: Iterable[Substitution]) -> str:
    """Return the joined text of ``parts``."""
    return "".join(context.perform_substitution(part) for part in parts)


class LaunchContext:
    """What a launch knows while it runs.

    Attributes:
        launch_configurations: Argument values by name.
        environment: What started processes inherit: this process's own, as in the real package.
        current_launch_file_directory: Folder of the launch file being visited, or None.
        cause: The process exit whose handler is being visited, or None.
    """

    def __init__(
        self, *, argv: Iterable[str] | None = None, runtime: Runtime | None = None
    ) -> None:
        self.argv = list(argv or [])
        self.launch_configurations: dict[str, str] = {}
        self.environment = os.environ
        self.current_launch_file_directory: str | None = None
        self.cause: ProcessExited | None = None
        self._runtime = runtime

    @property
    def runtime(self) -> Runtime:
        """The running launch; absent while arguments are only being listed."""
        if self._runtime is None:
            raise LaunchError("nothing can be started here: no launch is running")
        return self._runtime

    @property
    def is_shutdown(self) -> bool:
        """Whether the launch has begun to stop."""
        return self._runtime is not None and self._runtime.stopping

    def perform_substitution(self, substitution: Substitution) -> str:
        """Return the text of ``substitution``."""
        return substitution.perform(self)

    def __getattr__(self, name: str) -> object:
        if name.startswith("_"):
            raise AttributeError(name)
        raise NotInStandInError(
            f"the launch stand-in has no LaunchContext.{name}: {REAL_PACKAGE_HINT}"
        )


class LaunchDescriptionEntity:
    """Anything that a launch description may hold."""

    def visit(self, context: LaunchContext) -> None:
        """Act on ``context``."""
        raise NotImplementedError


class Action(LaunchDescriptionEntity):
    """One step of a launch, done only if its condition holds."""

    def __init__(self, *, condition: Condition | None = None, **unknown: object) -> None:
        refuse_keywords(type(self).__name__, unknown)
        self.condition = condition

    def visit(self, context: LaunchContext) -> None:
        if self.condition is None or self.condition.evaluate(context):
            visit_all(self.execute(context), context)

    def execute(self, context: LaunchContext) -> Iterable[LaunchDescriptionEntity] | None:
        """Do the step; entities that are returned are visited next."""
        raise NotImplementedError


class LaunchDescription(LaunchDescriptionEntity):
    """An ordered list of entities."""

    def __init__(
        self,
        initial_entities: Iterable[LaunchDescriptionEntity] | None = None,
        **unknown: object,
    ) -> None:
        refuse_keywords("LaunchDescription", unknown)
        self.entities = list(initial_entities or [])

    def add_action(self, action: Action) -> None:
        """Append an action."""
        self.entities.append(action)

    def add_entity(self, entity: LaunchDescriptionEntity) -> None:
        """Append an entity."""
        self.entities.append(entity)

    def visit(self, context: LaunchContext) -> None:
        visit_all(self.entities, context)


def visit_all(
    entities: LaunchDescriptionEntity | Iterable[LaunchDescriptionEntity] | None,
    context: LaunchContext,
) -> None:
    """Visit one entity, several or none, in order."""
    if entities is None:
        return
    for entity in [entities] if isinstance(entities, LaunchDescriptionEntity) else entities:
        if not isinstance(entity, LaunchDescriptionEntity):
            raise LaunchError(
                f"a launch description holds {entity!r}, which is no action: "
                "put actions there, and return a list of actions from an OpaqueFunction"
            )
        entity.visit(context)
