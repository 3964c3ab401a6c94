"""The ros2 command: what it says to whom, and what it refuses."""

from __future__ import annotations

import pytest

ARGUMENTS = """
    DeclareLaunchArgument("task", description="What to do."),
    DeclareLaunchArgument("arm", default_value="sim", choices=["sim", "real"]),
    DeclareLaunchArgument("where", default_value=[LaunchConfiguration("nowhere"), "/x"]),
    GroupAction([
        IncludeLaunchDescription(
            PythonLaunchDescriptionSource([ThisLaunchFileDir(), "/inner.launch.py"]),
            launch_arguments={"fixed": "1"}.items()),
        IncludeLaunchDescription("/not/there.launch.py", condition=IfCondition("false")),
    ]),
"""
INNER = """
    DeclareLaunchArgument("fixed", default_value="0"),
    DeclareLaunchArgument("speed", default_value="1.0", description="Sim speed."),
"""


@pytest.fixture
def with_arguments(toy):
    """A toy package whose launch file declares arguments and includes another file."""
    toy.launch_file(INNER, name="inner.launch.py")
    toy.launch_file(ARGUMENTS)
    return toy


def test_show_args_lists_each_argument_and_those_of_included_files(
    with_arguments, monkeypatch, capsys
) -> None:
    result = with_arguments.ros2_here(
        monkeypatch, capsys, "launch", "toy", "toy.launch.py", "--show-args"
    )
    assert result.returncode == 0
    assert result.stdout == (
        "Arguments of toy.launch.py (give each as NAME:=VALUE):\n\n"
        "    task\n"
        "        What to do.\n"
        "        required\n"
        "    arm\n"
        "        one of: sim, real\n"
        "        default: 'sim'\n"
        "    where\n"
        "        default: \"LaunchConfiguration('nowhere') + '/x'\"\n"
        "    speed\n"
        "        Sim speed.\n"
        "        default: '1.0'\n"
    )


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["toy.launch.py", "tsk:=a"],
            "toy.launch.py has no launch argument 'tsk': it has task, arm, where, speed "
            "(see --show-args)",
        ),
        (["toy.launch.py", "fixed:=2"], "toy.launch.py has no launch argument 'fixed'"),
        (
            ["toy.launch.py"],
            "toy.launch.py needs the launch argument 'task' (What to do.): give task:=VALUE",
        ),
        (
            ["toy.launch.py", "task:=a", "arm:=leg"],
            "the launch argument 'arm' cannot be 'leg': choose one of sim, real",
        ),
        (
            ["toy.launch.py", "task=a"],
            "'task=a' is no launch argument: write NAME:=VALUE, in quotes if it holds spaces",
        ),
        (["toy.launch.py", ":=a"], "':=a' is no launch argument"),
        (
            ["tow.launch.py"],
            "the package 'toy' has no launch file 'tow.launch.py': it has toy.launch.py",
        ),
        ([], "the package 'toy' needs a launch file's name after it: it has inner.launch.py, toy"),
    ],
)
def test_launch_refuses_what_is_not_there(
    with_arguments, monkeypatch, capsys, words: list[str], sentence: str
) -> None:
    result = with_arguments.ros2_here(monkeypatch, capsys, "launch", "toy", *words)
    assert result.returncode == 1
    assert result.stderr.startswith(f"ros2: {sentence}")
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["launch", "toi", "x.launch.py"], "there is no package 'toi' under AMENT_PREFIX_PATH"),
        (["launch", "/no/such.launch.py"], "there is no launch file /no/such.launch.py"),
        (["launch"], "ros2 launch needs a package and a launch file"),
        (["run", "toy", "runer"], "the package 'toy' has no executable 'runer': it has runner"),
        (["run", "toi", "runner"], "there is no package 'toi'"),
        (["node", "list"], "'ros2 node' needs a ROS 2 install: this small ros2 knows launch, run"),
        (["topic", "pub", "/x"], "'ros2 topic pub' needs a ROS 2 install"),
        (["bag", "play", "x"], "'ros2 bag play' needs a ROS 2 install"),
        (["bag", "info", "/no/bag"], "there is no /no/bag: give the folder of a recording"),
    ],
)
def test_each_verb_refuses_in_one_sentence(
    toy, monkeypatch, capsys, words: list[str], sentence: str
) -> None:
    toy.node("runner", "")
    result = toy.ros2_here(monkeypatch, capsys, *words)
    assert result.returncode == 1
    assert result.stderr.startswith(f"ros2: {sentence}")
    assert result.stderr.count("\n") == 1


def test_help_names_every_verb_that_there_is(toy) -> None:
    text = toy.ros2("--help").stdout
    assert text == toy.ros2().stdout
    for line in ("ros2 launch", "ros2 run", "topic list", "topic echo", "topic hz", "bag info"):
        assert line in text


BROKEN = {
    "raises": ("1 / 0", "ZeroDivisionError at {path}:2: division by zero"),
    "its own error": (
        "class Mine(Exception): pass\n    raise Mine('no such\\n arm')",
        "ros2: no such arm\n",
    ),
    "syntax": ("(", "SyntaxError"),
    "unknown action": (
        "from launch.actions import ExecuteProcess",
        "no launch.actions.ExecuteProcess: it needs the real launch package",
    ),
    "unknown keyword": (
        "from launch.actions import LogInfo; LogInfo(msg='', foo=1)",
        "no foo= for LogInfo: it needs the real launch package",
    ),
    "unknown module": (
        "import launch.frontend",
        "no launch.frontend (No module named 'launch.frontend'): it needs the real launch package",
    ),
    "no description": ("return 3", "returned int: it must return a LaunchDescription"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_launch_file_gets_one_sentence(toy, monkeypatch, capsys, how: str) -> None:
    body, sentence = BROKEN[how]
    path = toy.raw_launch_file(f"def generate_launch_description():\n    {body}\n")
    result = toy.ros2_here(monkeypatch, capsys, "launch", "toy", "toy.launch.py")
    assert result.returncode == 1
    assert sentence.format(path=path) in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_launch_file_without_its_function_or_of_another_kind_is_refused(
    toy, monkeypatch, capsys
) -> None:
    toy.raw_launch_file("")
    result = toy.ros2_here(monkeypatch, capsys, "launch", "toy", "toy.launch.py")
    assert "has no generate_launch_description() function: add it" in result.stderr
    toy.raw_launch_file("<launch/>", name="toy.launch.xml")
    result = toy.ros2_here(monkeypatch, capsys, "launch", "toy", "toy.launch.xml")
    assert "toy.launch.xml is no Python launch file" in result.stderr


def test_an_error_while_launching_ends_what_runs_and_debug_shows_where(toy) -> None:
    toy.node("left")
    toy.launch_file('node("left"), OpaqueFunction(function=lambda context: [][1]),')
    result = toy.ros2("launch", "toy", "toy.launch.py")
    assert result.returncode == 1
    assert "raised IndexError at " in result.stdout
    assert "Traceback" not in result.stdout + result.stderr
    assert "Traceback" in toy.ros2("launch", "toy", "toy.launch.py", "--debug").stdout


def test_options_may_stand_anywhere_and_a_value_is_all_after_the_first_separator(toy) -> None:
    path = toy.launch_file(
        'DeclareLaunchArgument("a"), LogInfo(msg=["<", LaunchConfiguration("a"), ">"]),'
    )
    result = toy.ros2("launch", str(path), "a:=0", "--debug", "a:=b:=c d --x")
    assert result.returncode == 0
    assert "[INFO] [launch.user]: <b:=c d --x>" in result.stdout


def test_run_becomes_the_executable(toy) -> None:
    toy.node("runner", "import sys; print(sys.argv[1:]); raise SystemExit(7)")
    result = toy.ros2("run", "toy", "runner", "--fast", "-h", "--ros-args", "-p", "a:=1")
    assert result.returncode == 7
    assert result.stdout == "['--fast', '-h', '--ros-args', '-p', 'a:=1']\n"


def test_bag_info_says_what_a_recording_holds(toy) -> None:
    writer_module = pytest.importorskip("rosbags.rosbag2")
    typesys = pytest.importorskip("rosbags.typesys")
    store = typesys.get_typestore(typesys.Stores.ROS2_JAZZY)
    message_type = store.types["std_msgs/msg/String"]
    bag = toy.directory / "bags" / "one"
    bag.parent.mkdir()
    plugin = writer_module.StoragePlugin.MCAP
    with writer_module.Writer(bag, version=9, storage_plugin=plugin) as writer:
        for topic, stamps in {"/b": [1_500_000_000], "/a": [1_000_000_000, 3_250_000_000]}.items():
            connection = writer.add_connection(topic, "std_msgs/msg/String", typestore=store)
            for stamp in stamps:
                data = store.serialize_cdr(message_type("x"), "std_msgs/msg/String")
                writer.write(connection, stamp, data)
    toy.env["TZ"] = "UTC"
    result = toy.ros2("bag", "info", str(bag))
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == "Files:             one.mcap"
    assert lines[2] == "Storage id:        mcap"
    assert lines[4:] == [
        "Duration:          2.250000000s",
        "Start:             Jan  1 1970 00:00:01.000000000 (1.000000000)",
        "End:               Jan  1 1970 00:00:03.250000000 (3.250000000)",
        "Messages:          3",
        "Topic information: Topic: /a | Type: std_msgs/msg/String | Count: 2 | "
        "Serialization Format: cdr",
        "                   Topic: /b | Type: std_msgs/msg/String | Count: 1 | "
        "Serialization Format: cdr",
    ]
    (bag / "one.mcap").rename(bag / "lost.mcap")
    assert "cannot be read as a rosbag: " in toy.ros2("bag", "info", str(bag)).stderr
    assert f"it holds {bag}" in toy.ros2("bag", "info", str(bag.parent)).stderr


def test_a_rate_is_that_of_the_gaps_between_arrivals() -> None:
    from ros2_standin.topic_verbs import rate_text

    # Gaps of 1, 2 and 3 s: mean 2 s, standard deviation sqrt(2 / 3) s.
    assert rate_text([0.0, 1.0, 3.0, 6.0]) == (
        "average rate: 0.500\n\tmin: 1.000s max: 3.000s std dev: 0.81650s window: 4"
    )


def test_messages_are_printed_as_yaml_with_long_arrays_cut_short() -> None:
    from ros2_standin.message_text import message_text

    class Stamp:
        sec = 7

        def get_fields_and_field_types(self) -> dict[str, str]:
            return {"sec": "int32"}

    class Message:
        stamp = Stamp()
        name = "wörd: x"
        values = tuple(range(130))
        flag = b"\x03"

        def get_fields_and_field_types(self) -> dict[str, str]:
            return dict.fromkeys(["stamp", "name", "values", "flag"], "")

    lines = message_text(Message()).splitlines()
    assert lines[:4] == ["stamp:", "  sec: 7", "name: 'wörd: x'", "values:"]
    assert lines[-2:] == ["- '...'", "flag: 3"]
    assert sum(line.startswith("- ") for line in lines) == 129
