"""Real processes: signals, exit codes and output of ``ros2 launch``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

TWO_STEADY = 'node("left"), node("right"),'


@pytest.fixture
def two(toy):
    """A toy package whose launch file starts two steady nodes."""
    toy.node("left")
    toy.node("right")
    toy.launch_file(TWO_STEADY)
    return toy


def start_two(two) -> subprocess.Popen[bytes]:
    process = two.start(two.command("launch", "toy", "toy.launch.py"))
    two.wait_for_output("ready", count=2)
    return process


def test_ctrl_c_in_a_terminal_ends_each_node_once_and_cleanly(two) -> None:
    program = "import os,pty,sys;sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
    command = two.command("launch", "toy", "toy.launch.py")
    process = two.start([sys.executable, "-c", program, *command], stdin=subprocess.PIPE)
    two.wait_for_output("ready", count=2)
    assert process.stdin is not None
    process.stdin.write(b"\x03")
    process.stdin.flush()
    two.wait_for_output("ending 2 process(es)")
    process.stdin.write(b"\x03")
    process.stdin.flush()
    assert process.wait(30) == 0
    process.stdin.close()
    assert two.signals("left") == two.signals("right") == ["2"]
    assert two.output().count("process has finished cleanly") == 2


def test_sigint_to_the_launch_alone_ends_all(two) -> None:
    process = start_two(two)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    assert two.signals("left") == two.signals("right") == ["2"]
    assert two.output().count("bye") == 2


def test_sigint_twice_to_the_whole_group_reaches_each_node_once(two) -> None:
    process = start_two(two)
    os.killpg(process.pid, signal.SIGINT)
    two.wait_for_output("ending 2 process(es)")
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(30) == 0
    assert two.signals("left") == two.signals("right") == ["2"]


def test_sigint_works_where_a_script_started_the_launch_with_an_ampersand(two) -> None:
    command = two.command("launch", "toy", "toy.launch.py")
    process = two.start(["sh", "-c", 'trap "" INT; exec "$@"', "sh", *command])
    two.wait_for_output("ready", count=2)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    assert two.signals("left") == ["2"]


def test_a_node_is_started_with_sigint_in_force_although_the_launch_had_it_ignored(
    toy,
) -> None:
    toy.node("asker", "import signal; print('action', signal.getsignal(signal.SIGINT).__name__)")
    toy.launch_file('node("asker"),')
    command = toy.command("launch", "toy", "toy.launch.py")
    process = toy.start(["sh", "-c", 'trap "" INT; exec "$@"', "sh", *command])
    assert process.wait(30) == 0
    assert "[asker-1] action default_int_handler" in toy.output()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_sigterm_and_sighup_take_the_nodes_with_the_launch(two, number: int) -> None:
    process = start_two(two)
    process.send_signal(number)
    assert process.wait(30) == 0
    assert not two.is_alive(two.pid("left"))
    assert not two.is_alive(two.pid("right"))
    assert two.output().count("bye") == 2


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone tells of a parent's end")
def test_a_killed_launch_leaves_no_orphans(two) -> None:
    process = start_two(two)
    assert two.is_alive(two.pid("left"))
    process.kill()
    process.wait(30)
    for name in ("left", "right"):
        two.wait_until(lambda name=name: not two.is_alive(two.pid(name)), f"the end of {name}")


def test_a_helper_that_a_node_leaves_behind_is_ended(toy) -> None:
    toy.node(
        "careless",
        "import subprocess, sys\n"
        "helper = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print('helper', helper.pid)\n",
    )
    toy.launch_file('node("careless"),')
    result = toy.ros2("launch", "toy", "toy.launch.py")
    assert result.returncode == 0
    pid = int(result.stdout.partition("[careless-1] helper ")[2].split()[0])
    toy.wait_until(lambda: not toy.is_alive(pid), "the end of the helper")


IGNORES_SIGINT = """\
import signal, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("ready")
while True:
    time.sleep(0.02)
"""


def test_a_node_that_ignores_sigint_is_sent_sigterm(toy) -> None:
    toy.node("stubborn", IGNORES_SIGINT)
    toy.launch_file('node("stubborn", sigterm_timeout="0.2"),')
    process = toy.start(toy.command("launch", "toy", "toy.launch.py"))
    toy.wait_for_output("ready")
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    assert "sending SIGTERM" in toy.output()
    assert "sending SIGKILL" not in toy.output()


def test_a_node_that_ignores_sigterm_too_is_killed_and_the_launch_fails(toy) -> None:
    toy.node("deaf", IGNORES_SIGINT.replace("lambda *_: sys.exit(0)", "signal.SIG_IGN"))
    toy.launch_file('node("deaf", sigterm_timeout="0.2", sigkill_timeout="0.2"),')
    process = toy.start(toy.command("launch", "toy", "toy.launch.py"))
    toy.wait_for_output("ready")
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 1
    assert "exit code -9" in toy.output()


# A Python that is told to end before it has a handler does not end cleanly.
AFTER_LEFT = """\
import os, pathlib, time
while not (pathlib.Path(os.environ["TOY_DIRECTORY"]) / "left.pid").exists():
    time.sleep(0.02)
"""
REQUIRED = {
    "on_exit": 'node("mortal", on_exit=Shutdown(reason="mortal ended")),',
    "on_exit function": 'node("mortal", on_exit=lambda event, context: [Shutdown(reason="x")]),',
    "handler": """
        OpaqueFunction(function=lambda context: [
            mortal := node("mortal"),
            RegisterEventHandler(OnProcessExit(target_action=mortal,
                on_exit=[EmitEvent(event=ShutdownEvent(reason="mortal ended"))]))]),
    """,
    "timer": 'node("mortal", on_exit=[TimerAction(period=0.1, actions=[Shutdown(reason="x")])]),',
}


@pytest.mark.parametrize("how", REQUIRED)
@pytest.mark.parametrize(("node_code", "launch_code"), [(3, 1), (0, 0)])
def test_the_end_of_a_required_node_ends_the_launch_and_its_failure_is_the_exit_code(
    toy, how: str, node_code: int, launch_code: int
) -> None:
    toy.node("left")
    toy.node("mortal", AFTER_LEFT + f"raise SystemExit({node_code})")
    toy.launch_file(f'node("left"), {REQUIRED[how]}')
    result = toy.ros2("launch", "toy", "toy.launch.py")
    assert result.returncode == launch_code
    assert "[left-1]: process has finished cleanly" in result.stdout
    assert ("exit code 3" in result.stdout) == (node_code == 3)


def test_a_required_node_ended_by_a_signal_fails_the_launch(toy) -> None:
    toy.node("mortal", "import os; os.kill(os.getpid(), 9)")
    toy.launch_file('node("mortal", on_exit=Shutdown(reason="mortal ended")),')
    assert toy.ros2("launch", "toy", "toy.launch.py").returncode == 1


def test_a_node_that_is_not_required_may_die(toy) -> None:
    toy.node("mortal", "raise SystemExit(3)")
    toy.node("worker", "import time; time.sleep(0.5); print('done')")
    toy.launch_file('node("mortal"), node("worker"),')
    result = toy.ros2("launch", "toy", "toy.launch.py")
    assert result.returncode == 0
    assert "[worker-2] done" in result.stdout


def test_required_nodes_that_are_interrupted_do_not_fail_a_launch_that_ctrl_c_ends(
    toy,
) -> None:
    toy.node("plain", "import time\nprint('ready')\ntime.sleep(600)")
    toy.launch_file('node("plain", on_exit=Shutdown(reason="plain ended")),')
    process = toy.start(toy.command("launch", "toy", "toy.launch.py"))
    toy.wait_for_output("ready")
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    assert "process has died" in toy.output()


def test_nothing_is_started_once_the_launch_is_ending(toy) -> None:
    toy.node("late", "print('late is here')")
    toy.launch_file('Shutdown(reason="at once"), node("late"),')
    result = toy.ros2("launch", "toy", "toy.launch.py")
    assert result.returncode == 0
    assert "late" not in result.stdout


def test_output_goes_where_the_launch_file_says(toy) -> None:
    toy.node("talker", "import sys\nprint('heard')\nprint('alarm', file=sys.stderr)")
    toy.launch_file(
        'node("talker", output="screen"), node("talker", output="log"), '
        'node("talker", output="both"),'
    )
    result = toy.ros2("launch", "toy", "toy.launch.py")
    log = next((toy.directory / "log").glob("*/launch.log")).read_text()
    seen = {
        (number, text): (f"[talker-{number}] {text}" in result.stdout, f"{number}] {text}" in log)
        for number in (1, 2, 3)
        for text in ("heard", "alarm")
    }
    assert seen == {
        (1, "heard"): (True, False),
        (1, "alarm"): (True, False),
        (2, "heard"): (False, True),
        (2, "alarm"): (True, True),
        (3, "heard"): (True, True),
        (3, "alarm"): (True, True),
    }


def test_output_comes_line_by_line_and_the_last_unfinished_line_too(toy) -> None:
    toy.node("talker", "import sys; sys.stdout.write('a\\nb\\r\\nlong ' + 'x' * 200000 + '\\nend')")
    toy.launch_file('node("talker"),')
    lines = toy.ros2("launch", "toy", "toy.launch.py").stdout.splitlines()
    said = [line for line in lines if line.startswith("[talker-1] ")]
    assert said[:2] == ["[talker-1] a", "[talker-1] b"]
    assert said[-1] == "[talker-1] end"
    assert "".join(said).count("x") == 200000


def test_arguments_environment_namespace_and_remappings_reach_the_node(toy) -> None:
    toy.node(
        "asker",
        "import json, os, sys\nprint(json.dumps([sys.argv[1:], os.environ.get('TOY_COLOUR')]))",
    )
    toy.launch_file(
        """
        GroupAction([
            SetEnvironmentVariable("TOY_COLOUR", "red"),
            PushRosNamespace("robot"),
            node("asker", name="n", namespace="arm", arguments=["--fast", "a b"],
                 remappings=[("in", "/out")]),
            node("asker", namespace="/alone"),
        ]),
        node("asker"),
        """
    )
    lines = toy.ros2("launch", "toy", "toy.launch.py").stdout.splitlines()
    said = {
        line[1:8]: json.loads(line.partition("] ")[2])
        for line in lines
        if line.startswith("[asker-") and "]:" not in line
    }
    assert said == {
        "asker-1": [
            ["--fast", "a b", "--ros-args"]
            + ["-r", "__node:=n", "-r", "__ns:=/robot/arm", "-r", "in:=/out"],
            "red",
        ],
        "asker-2": [["--ros-args", "-r", "__ns:=/alone"], "red"],
        "asker-3": [["--ros-args"], None],
    }


def test_an_executable_that_cannot_start_fails_the_launch_in_one_sentence(toy) -> None:
    (toy.lib / "broken").write_text("#!/no/such/interpreter\n")
    (toy.lib / "broken").chmod(0o755)
    toy.launch_file('node("broken"),')
    result = toy.ros2("launch", "toy", "toy.launch.py")
    assert result.returncode == 1
    assert "[ERROR] [launch]: broken-1 cannot be started" in result.stdout
    assert "Traceback" not in result.stdout + result.stderr


def test_a_closed_pipe_ends_the_launch(toy) -> None:
    toy.node(
        "talker", "import time\nwhile True:\n    print('more', flush=True)\n    time.sleep(0.01)"
    )
    toy.launch_file('node("talker"),')
    process = subprocess.Popen(
        toy.command("launch", "toy", "toy.launch.py"),
        env=toy.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    toy.started.append(process)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(30) == 0
    assert process.stderr.read() == b""
    process.stderr.close()
