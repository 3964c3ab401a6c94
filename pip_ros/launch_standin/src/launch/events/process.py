"""Events of started processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from launch._entities import Action
from launch._errors import missing_names

__getattr__ = missing_names("launch.events.process")


@dataclass(frozen=True)
class ProcessExited:
    """A process has ended.

    Attributes:
        returncode: Exit code; minus the signal's number where a signal ended it.
        action: The action that started it.
        process_name: As in the output's prefix, e.g. ``sim_node-1``.
        cmd: Its command line.
        env: Its environment.
        pid: Its process id.
    """

    returncode: int
    action: Action
    process_name: str
    cmd: list[str]
    env: Mapping[str, str]
    pid: int
