"""Transitions of a managed node through its real services, and how a node ends."""

import ast
import time
from pathlib import Path
from signal import SIG_DFL, SIG_IGN, raise_signal

import pytest

rclpy = pytest.importorskip("rclpy")
pytestmark = pytest.mark.ros

from lifecycle_msgs.msg import Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from std_msgs.msg import String  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from vla_ros.core.errors import VlaError  # noqa: E402
from vla_ros.nodes import lifetime  # noqa: E402
from vla_ros.nodes.lifetime import ShellNode  # noqa: E402
from vla_ros.nodes.params import ParameterError  # noqa: E402

LIMIT_S = 20.0
CONFIGURE, CLEANUP, ACTIVATE, DEACTIVATE, ACTIVE_SHUTDOWN = 1, 2, 3, 4, 7


class Worker(ShellNode):
    """Notes what is called; `refuses` and `breaks` name the steps that raise."""

    def __init__(self, **overrides):
        self.calls, self.ticks, self.refuses, self.breaks = [], 0, "", ""
        values = [Parameter(name, value=value) for name, value in overrides.items()]
        super().__init__("worker", parameter_overrides=values)

    def configure(self):
        self.create_publisher(String, "/made", 1)
        self.create_subscription(String, "/heard", lambda _: None, 1)
        self.create_client(Trigger, "/asked")
        self.create_service(Trigger, "~/broken", self.answer_badly)
        self.create_timer(0.01, self.tick)
        self.undo_at_cleanup(lambda: self.calls.append("undone"))
        self.note("configure")

    def answer_badly(self, _, response):
        raise VlaError("the service broke")

    def tick(self):
        self.ticks += 1

    def activate(self):
        self.note("activate")

    def deactivate(self):
        self.note("deactivate")

    def cleanup(self):
        self.note("cleanup")

    def stop(self):
        self.calls.append("stop")

    def close(self):
        self.calls.append("close")

    def note(self, step):
        self.calls.append(step)
        if step == self.refuses:
            raise VlaError(f"{step} is refused")
        if step == self.breaks:
            raise KeyError(step)


class Manager:
    """Has a worker change its state as `ros2 lifecycle set` would; both live on one executor."""

    def __init__(self, worker):
        self.worker = worker
        self.node = rclpy.create_node("manager")
        self.executor = lifetime._executor()
        self.executor.add_node(worker)
        self.executor.add_node(self.node)
        self.change = self.node.create_client(ChangeState, "/worker/change_state")

    def call(self, client, request):
        deadline = time.monotonic() + LIMIT_S
        while not client.service_is_ready():
            assert time.monotonic() < deadline
            self.spin(0.05)
        future = client.call_async(request)
        self.executor.spin_until_future_complete(future, timeout_sec=LIMIT_S)
        return future.result()

    def set(self, *transitions):
        """Return whether each transition succeeded."""
        requests = [ChangeState.Request(transition=Transition(id=number)) for number in transitions]
        return [self.call(self.change, request).success for request in requests]

    def spin(self, duration_s):
        end = time.monotonic() + duration_s
        while time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.02)


@pytest.fixture
def manager(ros):
    ros()
    manager = Manager(Worker(autostart=False))
    yield manager
    manager.worker.destroy_node()
    manager.node.destroy_node()


def made(worker):
    """Return how much there is of each kind of entity."""
    return [len(list(getattr(worker, f"{kind}s"))) for kind in lifetime._ENTITIES]


def test_a_node_goes_round_and_cleanup_destroys_what_configure_made(manager):
    worker, before = manager.worker, made(manager.worker)
    assert worker.autostart is False
    assert manager.set(CONFIGURE, ACTIVATE, DEACTIVATE, ACTIVATE) == [True] * 4
    assert worker.state == "active"
    assert made(worker) == [count + 1 for count in before]
    while worker.ticks < 3:
        manager.spin(0.05)
    assert manager.set(DEACTIVATE, CLEANUP) == [True, True]
    assert worker.state == "unconfigured"
    assert made(worker) == before
    ticks = worker.ticks
    manager.spin(0.1)
    assert worker.ticks == ticks
    steps = ["configure", "activate", "deactivate", "activate", "deactivate"]
    assert worker.calls == [*steps, "cleanup", "undone", "close"]
    # And once more: nothing of the first round is in the way.
    assert manager.set(CONFIGURE) == [True]
    assert made(worker) == [count + 1 for count in before]


def test_a_configure_that_fails_leaves_nothing_and_may_be_tried_again(manager):
    worker, before = manager.worker, made(manager.worker)
    worker.refuses = "configure"
    assert manager.set(CONFIGURE) == [False]
    assert worker.state == "unconfigured"
    assert made(worker) == before
    assert worker.calls == ["configure", "undone", "close"]
    worker.refuses = ""
    assert manager.set(CONFIGURE) == [True]
    assert not worker.done.done()


def test_a_refused_step_leaves_the_state_as_it_was(manager):
    worker = manager.worker
    assert manager.set(CONFIGURE) == [True]
    worker.refuses = "activate"
    assert manager.set(ACTIVATE) == [False]
    assert worker.state == "inactive"
    worker.refuses = "cleanup"
    assert manager.set(CLEANUP) == [False]
    assert worker.state == "inactive"
    assert "close" not in worker.calls


def test_a_transition_that_is_illegal_now_is_refused_and_ends_nothing(manager):
    assert manager.set(ACTIVATE, DEACTIVATE, CONFIGURE) == [False, False, True]


def test_an_internal_error_in_a_transition_ends_the_node_with_its_sentence(manager):
    worker = manager.worker
    worker.breaks = "configure"
    assert manager.set(CONFIGURE) == [False]
    assert worker.state == "finalized"
    assert worker.calls == ["configure", "stop", "undone", "close"]
    assert worker.exit_sentence == lifetime._INTERNAL


def test_shutdown_asks_the_node_to_stop_and_it_finishes_when_it_is_ready(manager):
    worker = manager.worker
    assert manager.set(CONFIGURE, ACTIVATE, ACTIVE_SHUTDOWN) == [True] * 3
    assert worker.calls[-1] == "stop"
    assert not worker.done.done()
    worker.finish()
    assert worker.done.result() == 0


def test_a_failure_stops_the_node_once_and_a_second_one_ends_it(manager):
    worker = manager.worker
    assert manager.set(CONFIGURE) == [True]
    broken = manager.node.create_client(Trigger, "/worker/broken")
    assert manager.call(broken, Trigger.Request()).success is False
    assert worker.exit_sentence == "the service broke"
    assert worker.calls[-1] == "stop"
    worker.begin_stop()
    assert worker.calls.count("stop") == 1
    assert not worker.done.done()
    worker.fail("and it cannot be put to rest")
    assert worker.done.result() == 1
    assert worker.exit_sentence == "the service broke"


def test_a_node_that_starts_by_itself_raises_what_its_steps_raise(ros):
    ros()
    worker = Worker()
    assert worker.autostart is True
    worker.refuses = "activate"
    with pytest.raises(VlaError, match="activate is refused"):
        worker.bring_up()
    assert worker.calls == ["configure", "activate"]
    worker.destroy_node()


def test_autostart_that_is_no_boolean_is_refused(ros):
    ros()
    with pytest.raises(ParameterError, match="autostart of node worker must be a bool, got 'yes'"):
        Worker(autostart="yes")


@pytest.mark.parametrize(("before", "ends"), [(SIG_DFL, True), (SIG_IGN, False)])
def test_a_closed_terminal_ends_a_node_as_ctrl_c_does_but_not_one_under_nohup(ros, before, ends):
    ros()
    node = ShellNode("ending")
    numbers = (1, 2, 15)
    handlers = [lifetime.signal.getsignal(number) for number in numbers]
    lifetime.signal.signal(1, before)
    hangs_up = node.create_timer(0.01, lambda: (hangs_up.cancel(), raise_signal(1)))
    later = node.create_timer(0.5, lambda: node.finish(7))
    stops = []
    node.stop = lambda: (stops.append(True), node.finish())
    try:
        assert lifetime._spin(node) == (0 if ends else 7)
    finally:
        for number, handler in zip(numbers, handlers, strict=True):
            lifetime.signal.signal(number, handler)
        later.cancel()
        node.destroy_node()
    assert stops == [True] * ends


class Failing(ShellNode):
    def __init__(self):
        super().__init__("failing")

    def activate(self):
        {}["key"]


@pytest.mark.parametrize("argument", [[], ["-p", "autostart:=false"]])
def test_a_process_says_its_one_sentence_and_nothing_where_somebody_else_starts_it(
    monkeypatch, capfd, argument
):
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    monkeypatch.setattr("sys.argv", ["failing", "--ros-args", *argument])
    # Where it is not to start by itself, it spins until the context goes.
    monkeypatch.setattr(lifetime, "_spin", lambda node: int(node.state != "unconfigured"))
    signals = [lifetime.signal.getsignal(number) for number in (1, 2, 15)]
    code = lifetime.run(Failing, "failing_node")
    for number, handler in zip((1, 2, 15), signals, strict=True):
        lifetime.signal.signal(number, handler)
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("failing_n")]
    assert (code, lines) == ((0, []) if argument else (1, [f"failing_node: {lifetime._INTERNAL}"]))


def assigned(tree):
    """Return the names X of every `self.X = ...` and `self.X: ... = ...` below `tree`."""
    targets = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            targets += [one for t in node.targets for one in ast.walk(t)]
        elif isinstance(node, ast.AnnAssign):
            targets.append(node.target)
    return {
        one.attr
        for one in targets
        if isinstance(one, ast.Attribute)
        and isinstance(one.value, ast.Name)
        and one.value.id == "self"
    }


def test_no_node_takes_a_name_that_rclpy_uses_for_itself():
    theirs = assigned(ast.parse(Path(rclpy.node.__file__).read_text()))
    assert {"_parameters", "_clock"} <= theirs
    taken = []
    for path in sorted(Path(lifetime.__file__).parent.glob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and any(
                "Node" in ast.unparse(base) for base in node.bases
            ):
                taken += [f"{path.name}: {name}" for name in assigned(node) & theirs]
    assert not taken
