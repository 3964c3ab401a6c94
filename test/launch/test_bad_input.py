"""What cannot work ends with one sentence that names it, and with an exit code other than 0."""

import resource
import signal

import pytest

pytest.importorskip("rclpy")
pytestmark = pytest.mark.ros

from vla_ros.nodes import entry  # noqa: E402

TASK = ("task:=put the carrot on the plate", "checkpoint:=nowhere")


def one_sentence(output: str, program: str) -> str:
    """Return the program's sentence; there is one, and no traceback."""
    assert "Traceback" not in output
    lines = [line for line in output.splitlines() if line.startswith(f"{program}: ")]
    assert len(lines) == 1, output
    return lines[0]


@pytest.fixture
def run_here(monkeypatch, own_domain):
    """Return a function that does what a node's executable does, in this process."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers = [signal.getsignal(number) for number in numbers]

    def run(name, *arguments):
        monkeypatch.setattr("sys.argv", [f"{name}_node", "--ros-args", *arguments])
        return entry.start(name)

    yield run
    for number, handler in zip(numbers, handlers, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("name", "arguments", "sentence"),
    [
        ("sim", ("robot_model:=px100",), "robot_model of node sim must be one of wx250s"),
        ("sim", ("objects:=[carot]",), "object 'carot' is not in the simulated scene"),
        ("sim", ("speed:=0.0",), "speed of node sim must lie in 0.01 to 1000.0"),
        ("camera", ("source:='97'", "wait_s:=0.0"), "camera source '97' is absent"),
        ("camera", ("source:=sim", "wait_s:=0.0"), "no simulated camera"),
        ("camera", ("source:='97'", "calibration:=/no.yaml"), "calibration file /no.yaml"),
        ("explorer", ("driver_wait_s:=0.1",), "no arm driver for 0.1 s, missing joint states"),
        ("policy", ("task:=go",), "parameter checkpoint of node policy is empty"),
        ("policy", ("task:=go", "checkpoint:=/no"), "checkpoint folder /no does not exist"),
        ("demo", ("task:=dance",), "the scripted teacher does not know the task 'dance'"),
        ("demo", (), "parameter task of node demo is empty"),
    ],
)
def test_a_node_refuses_what_it_cannot_do(run_here, capfd, name, arguments, sentence):
    code = run_here(name, *(word for argument in arguments for word in ("-p", argument)))
    assert code == 1
    assert sentence in one_sentence("".join(capfd.readouterr()), f"{name}_node")


def test_a_parameter_file_that_is_absent_ends_the_process(graph):
    code, output = graph.run(*graph.node("sim", "--params-file", "nowhere.yaml"))
    assert code == 1
    assert "nowhere.yaml" in one_sentence(output, "sim_node")


def test_an_unknown_launch_argument_is_refused_by_name(graph):
    code, output = graph.run("ros2", "launch", "vla_ros", "play.launch.py", "speeed:=4")
    assert code != 0
    assert "speeed" in output
    assert "Traceback" not in output


def test_a_real_arm_without_its_driver_package_is_refused(graph):
    code, output = graph.run("ros2", "launch", "vla_ros", "play.launch.py", "arm:=interbotix")
    assert code != 0
    assert "needs the package interbotix_xsarm_control" in output
    assert graph.survivors() == []


def test_a_node_that_fails_ends_the_launch_with_a_failure(graph):
    code, output = graph.run("ros2", "launch", "vla_ros", "policy.launch.py", *TASK)
    assert code != 0
    assert "checkpoint folder nowhere does not exist" in output
    assert graph.survivors() == []


def test_a_disk_that_is_full_ends_play_with_a_sentence(graph):
    # A limit on the size of files stands in for a disk that is full: the write fails alike.
    def limit_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))

    out = graph.folder / "bags"
    code, output = graph.run(
        *("ros2", "launch", "vla_ros", "play.launch.py", f"out:={out}", "session:=s"),
        *("segments:=1", "segment_s:=120", "speed:=8", "camera_rate:=10"),
        *("camera_width:=128", "camera_height:=128"),
        preexec_fn=limit_files,
    )
    assert code != 0
    assert f"recording to {out}/s/play-00000.part failed (File too large)" in output
    assert "Traceback" not in output
    assert "explorer: 0 segments" in output, "the explorer had no time to park"
    assert (out / "s" / "play-00000.part" / "play-00000" / "play-00000.mcap").exists()
    assert graph.survivors() == []
