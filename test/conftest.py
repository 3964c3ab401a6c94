"""Fixtures for tests that need the ROS graph: an own domain each, this machine only."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent
# Where ROS comes from wheels, an environment that was not activated lacks it.
os.environ.setdefault("AMENT_PREFIX_PATH", sys.prefix)
# A second thread gains nothing on networks of toy size, and takes the core of a second worker.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# No test judges how fast the machine is.
settings.register_profile(
    "any_machine", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any_machine")
WORKER = os.environ.get("PYTEST_XDIST_WORKER")
# A tenth of the weight of what runs beside: enough to get on where the machine is busy otherwise.
_NICENESS = 10


def stand_back() -> None:
    """Let others go first on the cores: the tests of nodes may run beside this worker.

    Linux may share the cores out by session first (autogroup): the worker gets one of its own.
    """
    with contextlib.suppress(OSError):
        os.setsid()
    os.nice(_NICENESS)
    for _ in range(20):
        try:
            Path("/proc/self/autogroup").write_text(str(_NICENESS))
            return
        except BlockingIOError:  # ten times a second on the whole machine, and no more
            time.sleep(0.1)
        except OSError:
            return


if WORKER:
    stand_back()


def pytest_collection_modifyitems(config, items):
    """Where pytest-xdist has several workers, keep files whole, and graphs of processes in one.

    What a file shares is then made once, and no two graphs starve each other.
    """
    if config.pluginmanager.hasplugin("xdist"):
        for item in items:
            has_graph = {"graph", "module_graph"} & set(item.fixturenames)
            item.add_marker(pytest.mark.xdist_group("graph" if has_graph else item.path.stem))


def free_domain() -> int:
    """Return a ROS domain on which nobody listens here: the unicast ports of a dozen are free.

    Not the first one's alone: what is left on a domain may have come to it as the third.
    """
    # Between looking at a port and taking it others may look: each worker has domains of its own,
    # and so has a process without workers.
    if WORKER:
        count = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
        domains = range(51 + int(WORKER.removeprefix("gw")) % count, 101, count)
    else:
        domains = range(1, 51)
    for step in range(len(domains)):
        domain = domains[(os.getpid() + step) % len(domains)]
        if all(_is_free(7400 + 250 * domain + 11 + 2 * each) for each in range(12)):
            return domain
    raise RuntimeError("every ROS domain is taken")


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


@pytest.fixture(scope="session")
def overlay(tmp_path_factory):
    """Return a prefix in which `ros2` finds the package as it stands in the working tree."""
    prefix = tmp_path_factory.mktemp("overlay")
    share, lib = prefix / "share" / "vla_ros", prefix / "lib" / "vla_ros"
    index = prefix / "share" / "ament_index" / "resource_index" / "packages"
    index.mkdir(parents=True)
    (index / "vla_ros").touch()
    for folder in ("launch", "config"):
        shutil.copytree(ROOT / folder, share / folder)
    shutil.copytree(ROOT / "scripts", lib)
    shutil.copy(ROOT / "package.xml", share)
    return prefix


class Graph:
    """Processes on one ROS domain of their own; none of them outlives the test."""

    def __init__(self, folder: Path, overlay: Path):
        self.folder = folder
        self.domain = free_domain()
        self.token = f"vla_test_{uuid.uuid4().hex}"
        prefixes = [str(overlay), os.environ.get("AMENT_PREFIX_PATH", sys.prefix)]
        self.env = os.environ | {
            "ROS_DOMAIN_ID": str(self.domain),
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
            "FASTDDS_DEFAULT_PROFILES_FILE": str(ROOT / "config" / "fastdds.xml"),
            "AMENT_PREFIX_PATH": ":".join(prefixes),
            "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}".rstrip(":"),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "ROS_LOG_DIR": str(folder / "ros_log"),
            "OMP_NUM_THREADS": "1",
            "VLA_TEST_TOKEN": self.token,
        }
        self._started: list[subprocess.Popen] = []

    def start(self, *command: str, **options) -> subprocess.Popen:
        """Start a process; its output is text on `stdout`."""
        process = subprocess.Popen(
            [str(part) for part in command],
            env=self.env,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            **options,
        )
        self._started.append(process)
        return process

    def run(self, *command: str, timeout_s: float = 120.0, **options) -> tuple[int, str]:
        """Run a process to its end and return (exit code, output)."""
        process = self.start(*command, **options)
        output, _ = process.communicate(timeout=timeout_s)
        return process.returncode, output

    def node(self, name: str, *arguments: str) -> tuple[str, ...]:
        """Return the command that starts one of our nodes."""
        return sys.executable, str(ROOT / "scripts" / f"{name}_node"), "--ros-args", *arguments

    def survivors(self) -> list[str]:
        """Return the command lines of processes of this graph that still run."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and self.token in (entry / "environ").read_text():
                    found.append((entry / "cmdline").read_text().replace("\0", " "))
            except (OSError, UnicodeDecodeError):
                continue
        return found

    def close(self) -> None:
        """Interrupt what still runs, then kill it."""
        for process in self._started:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        for process in self._started:
            try:
                process.communicate(timeout=15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()


@pytest.fixture
def graph(tmp_path, overlay):
    """Return a graph of processes on its own domain."""
    graph = Graph(tmp_path, overlay)
    yield graph
    graph.close()


@pytest.fixture(scope="module")
def module_graph(tmp_path_factory, overlay):
    """Return a graph of processes that all tests of a module share."""
    graph = Graph(tmp_path_factory.mktemp("graph"), overlay)
    yield graph
    graph.close()


@pytest.fixture
def own_domain(monkeypatch):
    """Give what initialises rclpy by itself in this process a domain of its own."""
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    monkeypatch.setenv("ROS_DOMAIN_ID", str(free_domain()))


@pytest.fixture
def ros(monkeypatch, overlay):
    """Return a function that initialises rclpy in this process, on a domain of its own."""
    rclpy = pytest.importorskip("rclpy")
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")

    def init(*arguments: str, domain: int | None = None) -> None:
        args = ["test", "--ros-args", *arguments] if arguments else ["test"]
        rclpy.init(args=args, domain_id=free_domain() if domain is None else domain)

    yield init
    rclpy.try_shutdown()


@pytest.fixture
def listen(ros, graph):
    """Return a function that waits for messages of a topic of the graph, in this process."""

    def first(message_type, topic, profile, accept=lambda message: True, limit_s=60.0):
        import rclpy
        from rclpy.node import Node

        if not rclpy.ok():
            ros(domain=graph.domain)
        node, found = Node("listener"), []
        node.create_subscription(
            message_type, topic, lambda m: found.append(m) if accept(m) else None, profile
        )
        deadline = time.monotonic() + limit_s
        while not found:
            assert time.monotonic() < deadline, f"nothing on {topic}"
            rclpy.spin_once(node, timeout_sec=0.1)
        node.destroy_node()
        return found[0]

    return first
