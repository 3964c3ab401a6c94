"""Handlers of events."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from launch._entities import Action, LaunchContext, LaunchDescriptionEntity
from launch._errors import missing_names, refuse_keywords
from launch.events.process import ProcessExited

__getattr__ = missing_names("launch.event_handlers")

_Entities = LaunchDescriptionEntity | Iterable[LaunchDescriptionEntity] | None
OnExit = _Entities | Callable[[ProcessExited, LaunchContext], _Entities]


class OnProcessExit:
    """Visit entities when a process has ended.

    Args:
        target_action: Whose process: an action, a function of the action, or None for any.
        on_exit: Entities, or a function of (event, context) that returns some.
    """

    def __init__(
        self,
        *,
        target_action: Action | Callable[[Action], bool] | None = None,
        on_exit: OnExit,
        handle_once: bool = False,
        **unknown: object,
    ) -> None:
        refuse_keywords("OnProcessExit", unknown)
        self.target_action = target_action
        self.on_exit = on_exit
        self.handle_once = handle_once

    def matches(self, event: ProcessExited) -> bool:
        """Return whether this handler wants ``event``."""
        if self.target_action is None or self.target_action is event.action:
            return True
        return not isinstance(self.target_action, Action) and bool(self.target_action(event.action))
