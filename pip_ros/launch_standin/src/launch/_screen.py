"""Where a launch writes: the screen and a log file."""

from __future__ import annotations

import datetime
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TextIO


class Screen:
    """Writes whole lines at once, to standard output and to the log file.

    Attributes:
        on_reader_gone: Called once when nobody reads standard output any more (a closed pipe).
    """

    def __init__(self, log_directory: Path | None = None) -> None:
        self.on_reader_gone: Callable[[], None] = lambda: None
        self._reader_gone = False
        self._log: TextIO | None = None
        directory = log_directory or default_log_directory()
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._log = (directory / "launch.log").open("a", encoding="utf-8", errors="replace")
        except OSError as error:
            self.say("WARNING", "launch", f"no log file is kept, {directory} refuses it: {error}")
        else:
            self.say("INFO", "launch", f"the log file is {directory / 'launch.log'}")

    def say(self, level: str, name: str, text: str) -> None:
        """Write a line of the launch's own."""
        line = f"[{level}] [{name}]: {text}"
        self.show(line)
        self.log(line)

    def show(self, line: str) -> None:
        """Write a line to standard output, without waiting for more."""
        if self._reader_gone:
            return
        try:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
        except BrokenPipeError:
            self._reader_gone = True
            # Python flushes standard output once more when it ends; that must not fail again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            self.on_reader_gone()

    def log(self, line: str) -> None:
        """Write a line to the log file; a full disk costs the log, not the run."""
        if self._log is None:
            return
        try:
            self._log.write(line + "\n")
            self._log.flush()
        except OSError as error:
            self._log = None
            self.show(f"[WARNING] [launch]: the log file ends here: {error}")


def default_log_directory() -> Path:
    """Return a new folder's path under ROS_LOG_DIR, else ROS_HOME/log, else ~/.ros/log."""
    home = os.environ.get("ROS_HOME") or "~/.ros"
    base = Path(os.environ.get("ROS_LOG_DIR") or Path(home) / "log").expanduser()
    start = datetime.datetime.now().strftime("%Y-%m-%d-%H-%M-%S-%f")
    return base / f"{start}-{socket.gethostname()}-{os.getpid()}"
