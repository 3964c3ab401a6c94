"""Events of a launch."""

from launch._errors import missing_names
from launch.events import process

__all__ = ["Shutdown", "process"]

__getattr__ = missing_names("launch.events")


class Shutdown:
    """The launch is to stop.

    Attributes:
        reason: Shown to the user.
    """

    def __init__(self, *, reason: str = "reason not given", due_to_sigint: bool = False) -> None:
        self.reason = reason
        self.due_to_sigint = due_to_sigint
