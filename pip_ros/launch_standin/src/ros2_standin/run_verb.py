"""``ros2 run``."""

from __future__ import annotations

import argparse
import os
import signal

from launch._errors import LaunchError
from launch_ros._packages import package_executable


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Declare the verb's command line."""
    parser = subparsers.add_parser(
        "run",
        help="start one executable of a package",
        usage="ros2 run PACKAGE EXECUTABLE [ARGUMENT ...]",
        description="Starts one executable of a package; all further words are its own.",
    )
    parser.add_argument("package")
    parser.add_argument("executable")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Become the executable: its exit code and its signals are then its own.

    Raises:
        LaunchError: There is no such package or executable, or it cannot be started.
    """
    path = package_executable(options.package, options.executable)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        os.execv(path, [str(path), *options.arguments])
    except OSError as error:
        raise LaunchError(f"{path} cannot be started: {error}") from error
