"""How every node of the package starts, stops and fails: one place for all of them.

A node is a managed node (lifecycle). With the parameter `autostart`, the default, it configures
and activates itself; without, somebody else does, by its service `~/change_state`.

A node ends in one of four ways, and each leaves the graph clean:
- its work is done: `finish`;
- it failed: `fail`, which gives `stop` the time to come to rest and to save what there is;
- SIGINT, SIGTERM, or SIGHUP of a terminal that is closed, once or twice, or the transition
  `shutdown`: `stop` is called once and may take `STOP_LIMIT_S`, with the graph still alive;
- the ROS context is shut down by another hand.
"""

import functools
import signal
import sys
import time
import traceback
from collections.abc import Callable

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future

from vla_ros.core.errors import VlaError
from vla_ros.nodes.entry import stop_signals
from vla_ros.nodes.params import LifecycleParameters, declare_fields

# A launch escalates from SIGINT to SIGTERM after 5 s.
STOP_LIMIT_S = 4.0
# How long a signal may wait for Python to look at it.
_SIGNAL_POLL_S = 0.1
_INTERNAL = "an internal error stopped the node, see the log above; please report it"
_SUCCESS = TransitionCallbackReturn.SUCCESS
_ENTITIES = ("publisher", "subscription", "client", "service", "timer")


class ShellNode(LifecycleNode):
    """A managed node that knows how to end; what its callbacks raise ends it with one sentence.

    Subclasses declare their parameters in `__init__` and override `configure`, `activate` and
    `deactivate`. Each may raise VlaError: the transition is refused then, and where the node was
    starting by itself, it ends with the sentence.

    Attributes:
        autostart: whether `run` configures and activates the node.
        exit_sentence: why it failed; empty while it did not.
    """

    def __init__(self, name: str, **options: object) -> None:
        # Before the base: it creates guarded subscriptions of its own (/clock).
        self.done = Future()
        self.exit_sentence = ""
        self.stop_deadline_s: float | None = None
        self._refusal = VlaError(_INTERNAL)
        self._brings_itself_up = False
        self._at_cleanup: list[Callable[[], object]] = []
        self._kept_entities: set[int] = set()
        super().__init__(name, **options)
        self.autostart = declare_fields(self, LifecycleParameters).autostart
        # rclpy lets a transition that is illegal now, a client's mistake, end the process.
        service = self._service_change_state
        service.callback = functools.partial(_change_state, service.callback)

    # --- what subclasses say ---

    def configure(self) -> None:
        """Check, load and create; the graph's entities made here are destroyed at cleanup."""

    def activate(self) -> None:
        """Begin the work; from here on the node may move things."""

    def deactivate(self) -> None:
        """Stop the work, so that `activate` can begin it anew; what takes time may go on after."""

    def cleanup(self) -> None:
        """Refuse, by VlaError, to be cleaned up now; releasing is the business of `close`."""

    def stop(self) -> None:
        """Come to an end after a signal or a failure; override to take time, then `finish`."""
        self.finish()

    def close(self) -> None:
        """Release what the node holds besides ROS: at cleanup, and once more at the end."""

    # --- what subclasses call ---

    @property
    def state(self) -> str:
        """The lifecycle state's name, such as "inactive" or "active"."""
        return self._state_machine.current_state[1]

    def finish(self, exit_code: int = 0) -> None:
        """End the process with `exit_code`, 1 after a failure, once the callback has returned."""
        if not self.done.done():
            self.done.set_result(1 if self.exit_sentence else exit_code)

    def fail(self, sentence: str) -> None:
        """End the process with exit code 1 and `sentence` on stderr, after `stop` has finished.

        A second failure ends it at once: what is broken cannot be put to rest.
        """
        self.exit_sentence = self.exit_sentence or sentence
        if self.stop_deadline_s is not None:
            self.finish()
        self.begin_stop()

    def begin_stop(self) -> None:
        """Have the node end within `STOP_LIMIT_S`; a second call changes nothing."""
        if self.stop_deadline_s is None:
            self.stop_deadline_s = time.monotonic() + STOP_LIMIT_S
            self.guarded(self.stop)()

    def undo_at_cleanup(self, callback: Callable[[], object]) -> None:
        """Have `callback` called when what `configure` made is destroyed."""
        self._at_cleanup.append(callback)

    def guarded(self, callback: Callable) -> Callable:
        """Return `callback`, made to end the node with one sentence when it raises."""

        @functools.wraps(callback)
        def run_callback(*args: object) -> object:
            try:
                return callback(*args)
            except VlaError as error:
                self.fail(str(error))
            except Exception:  # the outermost frame of a callback: report, then end
                self.get_logger().error(traceback.format_exc())
                self.fail(_INTERNAL)
            return None

        return run_callback

    def create_timer(self, timer_period_sec, callback, *args, **kwargs):
        return super().create_timer(timer_period_sec, self.guarded(callback), *args, **kwargs)

    def create_subscription(self, msg_type, topic, callback, *args, **kwargs):
        guarded = self.guarded(callback)
        return super().create_subscription(msg_type, topic, guarded, *args, **kwargs)

    def create_service(self, srv_type, srv_name, callback, *args, **kwargs):
        guarded = self.guarded(callback)

        def answer(request: object, response: object) -> object:
            answered = guarded(request, response)
            return response if answered is None else answered

        return super().create_service(srv_type, srv_name, answer, *args, **kwargs)

    # --- the transitions ---

    def bring_up(self) -> None:
        """Configure and activate.

        Raises:
            VlaError: what one of the two raised; an internal error is logged with its traceback.
        """
        self._brings_itself_up = True
        for trigger in (self.trigger_configure, self.trigger_activate):
            if trigger() != _SUCCESS:
                raise self._refusal
        self._brings_itself_up = False

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._kept_entities = {
            id(entity) for kind in _ENTITIES for entity in getattr(self, f"{kind}s")
        }
        result = self._transition("configure", self.configure)
        if result != _SUCCESS:
            self.guarded(self._destroy_made)()
        return result

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._transition("activate", self.activate)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._transition("deactivate", self.deactivate)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        result = self._transition("clean up", self.cleanup)
        if result == _SUCCESS:
            self.guarded(self._destroy_made)()
        return result

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.begin_stop()
        return _SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        # After an internal error the node ends; nobody shall take it up again.
        return TransitionCallbackReturn.FAILURE

    def _transition(self, what: str, body: Callable[[], None]) -> TransitionCallbackReturn:
        try:
            body()
            return _SUCCESS
        except VlaError as error:
            self._refusal = error
            if not self._brings_itself_up:
                self.get_logger().error(f"cannot {what}: {error}")
            return TransitionCallbackReturn.FAILURE
        except Exception:  # rclpy would swallow it
            self._refusal = VlaError(_INTERNAL)
            self.get_logger().error(traceback.format_exc())
            if not self._brings_itself_up:
                self.fail(_INTERNAL)
            return TransitionCallbackReturn.ERROR

    def _destroy_made(self) -> None:
        while self._at_cleanup:
            self._at_cleanup.pop()()
        self.close()
        for kind in _ENTITIES:
            destroy = getattr(self, f"destroy_{kind}")
            for entity in list(getattr(self, f"{kind}s")):
                if id(entity) not in self._kept_entities:
                    destroy(entity)


def _change_state(change_state: Callable, request: object, response: object) -> object:
    try:
        return change_state(request, response)
    except RuntimeError:  # rclpy's RCLError, whose class is private
        response.success = False
        return response


def run(make_node: Callable[[], ShellNode], name: str) -> int:
    """Start a node, spin it until it ends, and return the process's exit code.

    A VlaError becomes one sentence on stderr and exit code 1, without a traceback. Until the node
    spins, the handlers of `entry` hold.
    """
    node = None
    try:
        _init(name)
        node = make_node()
        if node.autostart:
            node.bring_up()
        exit_code = _spin(node)
        if node.exit_sentence:
            raise VlaError(node.exit_sentence)
        return exit_code
    except VlaError as error:
        print(f"{name}: {error}", file=sys.stderr, flush=True)
        return 1
    except (KeyboardInterrupt, ExternalShutdownException):
        return 0
    finally:
        # A second Ctrl-C (terminal and launch both send one) must not cut this short.
        for number in stop_signals():
            signal.signal(number, signal.SIG_IGN)
        if node is not None:
            node.close()
            node.destroy_node()
        rclpy.try_shutdown()


def _init(name: str) -> None:
    try:
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    except Exception as error:  # rclpy's own error classes are private
        reason = str(error).split(", at ")[0].splitlines()[0]
        raise VlaError(
            f"the ROS arguments {sys.argv[1:]} were refused ({reason}); check --ros-args and the "
            "parameter file"
        ) from None


def _spin(node: ShellNode) -> int:
    signalled = False

    def on_signal(_number: int, _frame: object) -> None:
        nonlocal signalled
        signalled = True

    for number in stop_signals():
        signal.signal(number, on_signal)
    executor = _executor()
    executor.add_node(node)
    while not node.done.done():
        executor.spin_until_future_complete(node.done, timeout_sec=_SIGNAL_POLL_S)
        if signalled:
            node.begin_stop()
        deadline_s = node.stop_deadline_s
        if not rclpy.ok() or (deadline_s is not None and time.monotonic() > deadline_s):
            return 0
    return node.done.result()


def _executor():
    """Return rclpy's event-driven executor, or the classic one where the distro is older.

    Measured on 2 busy cores at 800 messages/s: 0.16 ms a callback against 0.47 ms.
    """
    try:
        from rclpy.experimental import EventsExecutor  # since Jazzy's 7.1 series
    except ImportError:
        return SingleThreadedExecutor()
    return EventsExecutor()
