"""The actions that this project's launch files use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from launch import events
from launch._entities import (
    Action,
    LaunchContext,
    LaunchDescriptionEntity,
    SomeSubstitutionsType,
    as_substitutions,
    perform_all,
    visit_all,
)
from launch._errors import REAL_PACKAGE_HINT, LaunchError, NotInStandInError, missing_names
from launch.event_handlers import OnProcessExit
from launch.launch_description_sources import PythonLaunchDescriptionSource

__getattr__ = missing_names("launch.actions")


class DeclareLaunchArgument(Action):
    """An argument of the launch file; its value is text.

    Raises:
        LaunchError: When visited without a value and a default, or with a value not in choices.
    """

    def __init__(
        self,
        name: str,
        *,
        default_value: SomeSubstitutionsType | None = None,
        description: str | None = None,
        choices: Iterable[str] | None = None,
        **kwargs: object,
    ) -> None:
        super().__init__(**kwargs)
        self.name = name
        self.default_value = None if default_value is None else as_substitutions(default_value)
        self.description = description or ""
        self.choices = None if choices is None else list(choices)

    def execute(self, context: LaunchContext) -> None:
        values = context.launch_configurations
        if self.name not in values:
            if self.default_value is None:
                raise LaunchError(
                    f"the launch argument {self.name!r} is required ({self.description}): "
                    f"give {self.name}:=VALUE"
                )
            values[self.name] = perform_all(context, self.default_value)
        if self.choices is not None and values[self.name] not in self.choices:
            raise LaunchError(
                f"the launch argument {self.name!r} cannot be {values[self.name]!r}: "
                f"choose one of {', '.join(self.choices)}"
            )


class IncludeLaunchDescription(Action):
    """Another launch file, with values for its arguments."""

    def __init__(
        self,
        launch_description_source: PythonLaunchDescriptionSource | SomeSubstitutionsType,
        *,
        launch_arguments: Iterable[tuple[SomeSubstitutionsType, SomeSubstitutionsType]]
        | None = None,
        **kwargs: object,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(launch_description_source, PythonLaunchDescriptionSource):
            launch_description_source = PythonLaunchDescriptionSource(launch_description_source)
        self.source = launch_description_source
        self.launch_arguments = [
            (as_substitutions(name), as_substitutions(value))
            for name, value in launch_arguments or []
        ]

    def execute(self, context: LaunchContext) -> None:
        description = self.source.get_launch_description(context)
        for name, value in self.launch_arguments:
            # Set one by one: a later value may use an earlier one, as in the real package.
            context.launch_configurations[perform_all(context, name)] = perform_all(context, value)
        outer = context.current_launch_file_directory
        context.current_launch_file_directory = str(self.source.location(context).parent)
        try:
            description.visit(context)
        finally:
            context.current_launch_file_directory = outer


class GroupAction(Action):
    """Actions whose changes to arguments, namespace and environment end with the group."""

    def __init__(
        self, actions: Iterable[LaunchDescriptionEntity], *, scoped: bool = True, **kwargs: object
    ) -> None:
        super().__init__(**kwargs)
        self.actions = list(actions)
        self.scoped = scoped

    def execute(self, context: LaunchContext) -> None:
        configurations = dict(context.launch_configurations)
        environment = dict(context.environment)
        try:
            visit_all(self.actions, context)
        finally:
            if self.scoped:
                context.launch_configurations = configurations
                context.environment.clear()
                context.environment.update(environment)


class SetEnvironmentVariable(Action):
    """A variable for every process started after it."""

    def __init__(
        self, name: SomeSubstitutionsType, value: SomeSubstitutionsType, **kwargs: object
    ) -> None:
        super().__init__(**kwargs)
        self.name = as_substitutions(name)
        self.value = as_substitutions(value)

    def execute(self, context: LaunchContext) -> None:
        context.environment[perform_all(context, self.name)] = perform_all(context, self.value)


class OpaqueFunction(Action):
    """A function of the context that may return further entities."""

    def __init__(
        self,
        *,
        function: Callable[..., Iterable[LaunchDescriptionEntity] | None],
        args: Iterable[object] | None = None,
        kwargs: Mapping[str, object] | None = None,
        **left_over: object,
    ) -> None:
        super().__init__(**left_over)
        self.function = function
        self.args = list(args or [])
        self.kwargs = dict(kwargs or {})

    def execute(self, context: LaunchContext) -> Iterable[LaunchDescriptionEntity] | None:
        return self.function(context, *self.args, **self.kwargs)


class RegisterEventHandler(Action):
    """Put an event handler in force."""

    def __init__(self, event_handler: OnProcessExit, **kwargs: object) -> None:
        super().__init__(**kwargs)
        if not isinstance(event_handler, OnProcessExit):
            raise NotInStandInError(
                f"the launch stand-in cannot handle {type(event_handler).__name__}: "
                f"{REAL_PACKAGE_HINT}"
            )
        self.event_handler = event_handler

    def execute(self, context: LaunchContext) -> None:
        context.runtime.handlers.append(self.event_handler)


class EmitEvent(Action):
    """Emit an event; here only Shutdown."""

    def __init__(self, *, event: events.Shutdown, **kwargs: object) -> None:
        super().__init__(**kwargs)
        if not isinstance(event, events.Shutdown):
            raise NotInStandInError(
                f"the launch stand-in cannot emit {type(event).__name__}: {REAL_PACKAGE_HINT}"
            )
        self.event = event

    def execute(self, context: LaunchContext) -> None:
        # A shutdown that answers a failed process makes the launch itself fail.
        failed = context.cause is not None and context.cause.returncode != 0
        context.runtime.shutdown(self.event.reason, failed=failed)


class Shutdown(EmitEvent):
    """Stop the launch."""

    def __init__(self, *, reason: str = "reason not given", **kwargs: object) -> None:
        super().__init__(event=events.Shutdown(reason=reason), **kwargs)


class LogInfo(Action):
    """Say something to the user."""

    def __init__(self, *, msg: SomeSubstitutionsType, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.msg = as_substitutions(msg)

    def execute(self, context: LaunchContext) -> None:
        context.runtime.screen.say("INFO", "launch.user", perform_all(context, self.msg))


class TimerAction(Action):
    """Entities that are visited ``period`` seconds later, unless the launch stops before."""

    def __init__(
        self,
        *,
        period: float | SomeSubstitutionsType,
        actions: Iterable[LaunchDescriptionEntity],
        **kwargs: object,
    ) -> None:
        super().__init__(**kwargs)
        self.period = as_substitutions(str(period) if isinstance(period, (int, float)) else period)
        self.actions = list(actions)

    def execute(self, context: LaunchContext) -> None:
        text = perform_all(context, self.period)
        try:
            period_s = float(text)
        except ValueError as error:
            raise LaunchError(
                f"a timer's period is {text!r} in the launch file: give seconds as a number"
            ) from error
        context.runtime.visit_later(period_s, self.actions)
