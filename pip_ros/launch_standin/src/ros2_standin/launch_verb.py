"""``ros2 launch``."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from launch._arguments import arguments_text, check_arguments, declared_arguments
from launch._entities import LaunchContext
from launch._errors import REAL_PACKAGE_HINT, LaunchError, NotInStandInError
from launch._runtime import Runtime, sentence_of
from launch._screen import Screen
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_ros._packages import package_launch_file

HELP = """\
Starts the nodes that a launch file describes and ends them all at Ctrl-C.

  ros2 launch PACKAGE FILE [NAME:=VALUE ...]     a launch file of an installed package
  ros2 launch PATH [NAME:=VALUE ...]             a launch file anywhere

Everything after the first := is the value, as it is: quote what the shell would take apart, as in
task:="put the carrot on the plate".
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Declare the verb's command line."""
    parser = subparsers.add_parser(
        "launch",
        help="start the nodes of a launch file",
        usage="ros2 launch [-s] [-d] (PACKAGE FILE | PATH) [NAME:=VALUE ...]",
        description=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "-s", "--show-args", "--show-arguments", action="store_true",
        help="list the launch file's arguments, and launch nothing",
    )  # fmt: skip
    parser.add_argument(
        "-d", "--debug", action="store_true", help="show where in the code an error arose"
    )
    parser.add_argument("words", nargs="*", metavar="PACKAGE FILE | PATH, NAME:=VALUE")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Launch, or list the arguments; return the exit code."""
    path, words = find_launch_file(options.words)
    given = split_arguments(words)
    include = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(path)), launch_arguments=given.items()
    )
    try:
        context = LaunchContext()
        description = include.source.get_launch_description(context)
        # What an include's path depends on may be given on the command line.
        context.launch_configurations.update(given)
        context.current_launch_file_directory = str(path.parent)
        declared = declared_arguments(description.entities, context)
    except Exception as error:
        if options.debug:
            raise
        raise explained(error) from error
    if options.show_args:
        print(arguments_text(declared, path.name))
        return 0
    check_arguments(given, declared, path.name)
    return Runtime(Screen(), debug=options.debug).run([include])


def find_launch_file(words: list[str]) -> tuple[Path, list[str]]:
    """Return the launch file that the words name, and the remaining words.

    Raises:
        LaunchError: No such package or file.
    """
    if not words:
        raise LaunchError(
            "ros2 launch needs a package and a launch file, or a launch file's path: "
            "see ros2 launch --help"
        )
    first, *rest = words
    if os.path.isfile(first):
        return Path(first).absolute(), rest
    if os.sep in first or first.endswith(".py"):
        raise LaunchError(f"there is no launch file {first}: check the path")
    if not rest or ":=" in rest[0]:
        package_launch_file(first, "")  # raises: names the package's launch files
    return package_launch_file(first, rest[0]), rest[1:]


def split_arguments(words: list[str]) -> dict[str, str]:
    """Split each NAME:=VALUE at its first ``:=``; of two of one name the last holds.

    Raises:
        LaunchError: A word has no ``:=`` or no name.
    """
    values: dict[str, str] = {}
    for word in words:
        name, separator, value = word.partition(":=")
        if not separator or not name:
            raise LaunchError(
                f"{word!r} is no launch argument: write NAME:=VALUE, in quotes if it holds spaces"
            )
        values[name] = value
    return values


def explained(error: Exception) -> LaunchError:
    """Return a launch file's error as one sentence."""
    missing = getattr(error, "name", None) or ""
    if (
        isinstance(error, ImportError)
        and not isinstance(error, NotInStandInError)
        and missing.split(".")[0] in ("launch", "launch_ros", "launch_xml", "launch_yaml")
    ):
        return LaunchError(f"the launch stand-in has no {missing} ({error}): {REAL_PACKAGE_HINT}")
    return LaunchError(sentence_of(error))


def default_signals() -> None:
    """Give Ctrl-C its effect back where a script's ``&`` had it ignored."""
    import signal

    signal.signal(signal.SIGINT, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        # A task text that the terminal's encoding lacks must not end the launch.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
