"""``ros2 topic list``, ``echo`` and ``hz``."""

from __future__ import annotations

import argparse
import importlib
import itertools
import statistics
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from launch._errors import LaunchError, near_names

from ros2_standin.message_text import message_text

if TYPE_CHECKING:
    from rclpy.node import Node

# Discovery over Fast DDS mostly takes 0.1 s, but up to 3 s was measured.
_DISCOVERY_TIMEOUT_S = 5.0
_QUIET_S = 1.0


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Declare the verbs' command lines."""
    parser = subparsers.add_parser("topic", help="look at the topics of the running nodes")
    inner = parser.add_subparsers(dest="topic_verb", metavar="list|echo|hz", required=True)
    listing = inner.add_parser("list", help="name the topics that exist now")
    listing.add_argument("-t", "--show-types", action="store_true", help="with their types")
    listing.set_defaults(run=run_list)
    echo = inner.add_parser("echo", help="print a topic's messages")
    echo.add_argument("topic")
    echo.add_argument("--once", action="store_true", help="stop after the first message")
    echo.set_defaults(run=run_echo)
    hz = inner.add_parser("hz", help="measure how often a topic's messages come")
    hz.add_argument("topic")
    hz.add_argument("-w", "--window", type=int, default=10000, help="messages to average over")
    hz.set_defaults(run=run_hz)


@contextmanager
def _node() -> Iterator[tuple[Node, Any]]:
    """Yield a quiet node and its executor."""
    try:
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
    except ImportError as error:
        raise LaunchError(
            f"ros2 topic needs rclpy, which cannot be imported ({error}): source activate.sh"
        ) from None
    context = rclpy.Context()
    rclpy.init(args=[], context=context, signal_handler_options=rclpy.SignalHandlerOptions.NO)
    node = rclpy.create_node(
        "_ros2_topic", context=context, enable_rosout=False, start_parameter_services=False
    )
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    try:
        yield node, executor
    finally:
        executor.shutdown()
        node.destroy_node()
        context.try_shutdown()


def _topics(node: Node) -> dict[str, list[str]]:
    """Return the types of each visible topic; a name part with a leading underscore is hidden."""
    return {
        name: types
        for name, types in node.get_topic_names_and_types()
        if not any(part.startswith("_") for part in name.split("/"))
    }


def run_list(options: argparse.Namespace) -> int:
    """Print the topics, once their number has settled."""
    with _node() as (node, executor):
        end = time.monotonic() + _DISCOVERY_TIMEOUT_S
        seen, settled = {}, end
        while time.monotonic() < min(end, settled):
            executor.spin_once(timeout_sec=0.05)
            now = _topics(node)
            if now != seen and len(node.get_node_names()) > 1:
                # Another node has been found: what else there is mostly follows at once.
                seen, settled = now, time.monotonic() + _QUIET_S
    for name, types in sorted(seen.items()):
        print(f"{name} [{', '.join(types)}]" if options.show_types else name)
    return 0


def _wait_for_type(node: Node, executor: Any, topic: str) -> tuple[str, type]:
    """Return the topic's full name and its message class.

    Raises:
        LaunchError: No such topic appears, it has several types, or its package is not installed.
    """
    name = topic if topic.startswith("/") else f"/{topic}"
    end = time.monotonic() + _DISCOVERY_TIMEOUT_S
    while not (types := dict(node.get_topic_names_and_types()).get(name)):
        if time.monotonic() > end:
            raise LaunchError(
                f"nobody publishes or reads the topic {name} in this ROS_DOMAIN_ID: is the node "
                f"running (there are: {near_names(name, _topics(node))})"
            )
        executor.spin_once(timeout_sec=0.05)
    if len(types) > 1:
        raise LaunchError(f"the topic {name} has several types ({', '.join(types)}): end one side")
    return name, _message_class(types[0])


def _message_class(type_name: str) -> type:
    package, _, rest = type_name.partition("/")
    try:
        module = importlib.import_module(f"{package}.msg")
        return getattr(module, rest.rpartition("/")[2])
    except (ImportError, AttributeError):
        raise LaunchError(
            f"the message package {package} of {type_name} is not installed here: install it"
        ) from None


def _qos(node: Node, name: str) -> Any:
    """Return a QoS that hears every publisher: its demands are met by all of them."""
    from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

    offered = [info.qos_profile for info in node.get_publishers_info_by_topic(name)]
    reliable = offered and all(q.reliability == ReliabilityPolicy.RELIABLE for q in offered)
    latched = offered and all(q.durability == DurabilityPolicy.TRANSIENT_LOCAL for q in offered)
    return QoSProfile(
        depth=10,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def run_echo(options: argparse.Namespace) -> int:
    """Print messages until Ctrl-C, or the first one."""
    with _node() as (node, executor):
        name, message_class = _wait_for_type(node, executor, options.topic)
        received = 0

        def show(message: object) -> None:
            nonlocal received
            if received and options.once:
                return
            received += 1
            print(message_text(message) + "\n---", flush=True)

        node.create_subscription(message_class, name, show, _qos(node, name))
        try:
            while not (received and options.once):
                executor.spin_once(timeout_sec=0.1)
        except KeyboardInterrupt:
            pass
    return 0


def rate_text(arrivals_s: list[float]) -> str:
    """Return rate, spread and number of the gaps between arrival times [s]."""
    gaps = [b - a for a, b in itertools.pairwise(arrivals_s)]
    mean = statistics.fmean(gaps)
    return (
        f"average rate: {1 / mean if mean else float('inf'):.3f}\n"
        f"\tmin: {min(gaps):.3f}s max: {max(gaps):.3f}s std dev: {statistics.pstdev(gaps):.5f}s "
        f"window: {len(arrivals_s)}"
    )


def run_hz(options: argparse.Namespace) -> int:
    """Print the rate once a second until Ctrl-C."""
    arrivals: deque[float] = deque(maxlen=max(2, options.window))
    with _node() as (node, executor):
        name, message_class = _wait_for_type(node, executor, options.topic)
        node.create_subscription(
            message_class,
            name,
            lambda _: arrivals.append(time.monotonic()),
            _qos(node, name),
            raw=True,
        )
        shown, next_s = 0.0, time.monotonic() + 1
        try:
            while True:
                executor.spin_once(timeout_sec=0.1)
                if time.monotonic() < next_s:
                    continue
                next_s += 1
                if len(arrivals) > 1 and arrivals[-1] != shown:
                    shown = arrivals[-1]
                    print(rate_text(list(arrivals)), flush=True)
                else:
                    print(f"no new messages on {name}", flush=True)
        except KeyboardInterrupt:
            pass
    return 0
