"""The ``ros2`` command for machines where ROS 2 comes from wheels."""

from __future__ import annotations

import argparse
import sys

from launch._errors import LaunchError

from ros2_standin import bag_verb, launch_verb, run_verb, topic_verbs

DESCRIPTION = """\
The small ros2 of machines where ROS 2 comes from wheels. It knows:

  ros2 launch PACKAGE FILE [NAME:=VALUE ...]   start the nodes of a launch file
  ros2 launch PACKAGE FILE --show-args         list its arguments
  ros2 run PACKAGE EXECUTABLE [ARGUMENT ...]   start one node
  ros2 topic list [-t]                         the topics that exist now, with their types
  ros2 topic echo TOPIC [--once]               print a topic's messages
  ros2 topic hz TOPIC                          measure how often they come
  ros2 bag info BAG                            what a recording holds

Any other verb needs a ROS 2 install, whose own ros2 then takes this one's place.
"""


def parser() -> argparse.ArgumentParser:
    """Return the command line of all verbs."""
    top = argparse.ArgumentParser(
        prog="ros2",
        usage="ros2 [-h] VERB ...",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = top.add_subparsers(dest="verb", metavar="VERB")
    for verb in (launch_verb, run_verb, topic_verbs, bag_verb):
        verb.add_parser(verbs)
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; return the exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    launch_verb.default_signals()
    top = parser()
    try:
        if not words:
            top.print_help()
            return 0
        refuse_unknown_verb(words)
        options = parse(top, words)
        return options.run(options)
    except LaunchError as error:
        print(f"ros2: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader has gone (ros2 topic echo … | head): nothing to say
        return 0


def parse(top: argparse.ArgumentParser, words: list[str]) -> argparse.Namespace:
    """Parse; options of ``launch`` may stand anywhere between its words."""
    if words[0] != "launch":
        return top.parse_args(words)
    # argparse takes all plain words at once, and would refuse those after an option.
    options = [word for word in words[1:] if word.startswith("-")]
    plain = [word for word in words[1:] if not word.startswith("-")]
    return top.parse_args(["launch", *options, *plain])


def refuse_unknown_verb(words: list[str]) -> None:
    """Say that a verb, or a verb's verb, needs a ROS install.

    Raises:
        LaunchError: It is none of those that this command has.
    """
    known = {"launch": None, "run": None, "topic": ("list", "echo", "hz"), "bag": ("info",)}
    verb = words[0]
    if verb.startswith("-"):
        return
    if verb not in known:
        raise LaunchError(
            f"'ros2 {verb}' needs a ROS 2 install: this small ros2 knows {', '.join(known)}"
        )
    inner = known[verb]
    second = words[1] if len(words) > 1 else ""
    if inner is None or second in (*inner, "-h", "--help"):
        return
    name = f"ros2 {verb} {second}".strip()
    raise LaunchError(
        f"{name!r} needs a ROS 2 install: this small ros2 knows "
        + ", ".join(f"ros2 {verb} {one}" for one in inner)
    )


if __name__ == "__main__":
    sys.exit(main())
