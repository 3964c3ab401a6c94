"""Set-up recognises what the machine has, and takes up again what was cut off."""

import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "pip_ros"


@pytest.fixture
def setup_env(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    module = importlib.import_module("setup_env")
    yield module
    for name in ("setup_env", "steps", "machine"):
        if name in sys.modules:
            if name == "steps":
                sys.modules[name].LOCK.close()
            del sys.modules[name]


@pytest.fixture
def checkout(setup_env, tmp_path, monkeypatch):
    """Let set-up work on an empty folder instead of this checkout."""
    steps = sys.modules["steps"]
    for module in (setup_env, steps):
        monkeypatch.setattr(module, "ROOT", tmp_path)
        monkeypatch.setattr(module, "VENV", tmp_path / ".venv")
        monkeypatch.setattr(module, "STAMPS", tmp_path / ".venv" / ".setup")
        monkeypatch.setattr(module, "LOGS", tmp_path / "log")
    return tmp_path


@pytest.fixture
def fake_ros(tmp_path, monkeypatch):
    """Source a ROS install that has just the three modules set-up asks for."""
    prefix = tmp_path / "ros"
    for name in ("rclpy", "launch", "launch_ros"):
        (prefix / name).mkdir(parents=True)
        (prefix / name / "__init__.py").touch()
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    monkeypatch.setenv("PYTHONPATH", str(prefix))
    return prefix


def test_sourced_ros_is_found(setup_env, fake_ros, tmp_path):
    assert setup_env.real_ros(sys.executable, tmp_path / ".venv") is True


def test_wheels_inside_venv_are_no_ros_install(setup_env, fake_ros):
    assert setup_env.real_ros(sys.executable, fake_ros) is False


def test_ros_that_is_not_sourced_is_left_alone(setup_env, fake_ros, tmp_path, monkeypatch):
    monkeypatch.delenv("ROS_DISTRO")
    assert setup_env.real_ros(sys.executable, tmp_path / ".venv") is False


def test_step_counts_as_done_only_after_finish_and_with_its_key(checkout, setup_env):
    step = setup_env.Step("one", "first", "key a")
    step.begin()
    assert not step.done()
    step.finish()
    assert step.done()
    assert not setup_env.Step("one", "first", "key b").done()


def test_step_begun_again_is_not_done(checkout, setup_env):
    step = setup_env.Step("one", "first", "key")
    step.begin()
    step.finish()
    step.begin()
    assert not step.done()


def test_failing_command_names_step_and_log(checkout, setup_env):
    step = setup_env.Step("one", "first things", "key")
    step.begin()
    with pytest.raises(setup_env.SetupError, match=r"first things failed \(exit code 3\); log/one"):
        step.run(sys.executable, "-c", "print('why'); raise SystemExit(3)")
    assert "why" in step.log.read_text()


def test_key_follows_contents_names_and_x_bits_but_not_caches(checkout, setup_env):
    folder = checkout / "package"
    (folder / "__pycache__").mkdir(parents=True)
    source = folder / "node.py"
    source.write_text("a")
    keys = [setup_env.digest(folder)]
    (folder / "__pycache__" / "node.pyc").write_text("x")
    assert setup_env.digest(folder) == keys[0]
    source.write_text("b")
    keys.append(setup_env.digest(folder))
    source.chmod(0o755)
    keys.append(setup_env.digest(folder))
    source.rename(folder / "other.py")
    keys.append(setup_env.digest(folder))
    assert len(set(keys)) == 4


def test_package_without_record_is_forgotten_and_others_stay(checkout, setup_env):
    library = checkout / ".venv/lib/python3.11/site-packages"
    for name in ("whole-1.dist-info", "half-2.dist-info"):
        (library / name).mkdir(parents=True)
        (library / name / "METADATA").touch()
    (library / "whole-1.dist-info" / "RECORD").touch()
    setup_env.drop_half_installed()
    assert [path.name for path in library.iterdir()] == ["whole-1.dist-info"]


def test_cmake_files_point_to_this_machines_headers(checkout, setup_env):
    numpy = checkout / ".venv/lib/python3.12/site-packages/numpy/_core/include"
    numpy.mkdir(parents=True)
    path = checkout / ".venv/share/std_msgs/cmake/export.cmake"
    path.parent.mkdir(parents=True)
    root = "/opt/python/cp312-cp312"
    path.write_text(
        f'"{root}/lib/python3.12/site-packages/numpy/_core/include;{root}/include/python3.12"'
    )
    setup_env.correct_cmake_paths()
    assert path.read_text() == f'"{numpy};{setup_env.python_headers()}"'


def test_missing_package_is_named_with_the_command(setup_env, monkeypatch, tmp_path):
    machine = sys.modules["machine"]
    monkeypatch.setattr(machine.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(machine, "needed_packages", lambda: [("g++", lambda: False)])
    monkeypatch.setattr(machine, "rendering_packages", lambda: [])
    with pytest.raises(machine.SetupError, match=r"run `sudo apt-get install g\+\+`, then"):
        machine.require_system_packages(tmp_path / "apt.log")


def test_root_is_told_that_apt_was_tried_and_where_it_says_why(setup_env, monkeypatch, tmp_path):
    machine, log = sys.modules["machine"], tmp_path / "apt.log"
    tried = []
    monkeypatch.setattr(machine.os, "geteuid", lambda: 0)
    monkeypatch.setattr(machine.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(machine, "apt_install", lambda names, log: tried.append((names, log)))
    monkeypatch.setattr(machine, "needed_packages", lambda: [("g++", lambda: False)])
    monkeypatch.setattr(machine, "rendering_packages", lambda: [])
    with pytest.raises(machine.SetupError, match=r"\(tried just now; apt.log in .* says why"):
        machine.require_system_packages(log)
    assert tried == [(["g++"], log)]


def test_missing_renderer_is_said_and_does_not_stop(setup_env, monkeypatch, tmp_path, capsys):
    machine = sys.modules["machine"]
    monkeypatch.setattr(machine.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(machine, "needed_packages", lambda: [])
    monkeypatch.setattr(machine, "rendering_packages", lambda: [("libegl1", lambda: False)])
    machine.require_system_packages(tmp_path / "apt.log")
    assert "without libegl1 the simulated cameras stay dark" in capsys.readouterr().err


@pytest.fixture
def made_for(checkout, setup_env, monkeypatch):
    """Return a function that says what .venv was made for: "install" or "wheels"."""
    monkeypatch.setattr(setup_env, "MODE", checkout / ".venv" / ".setup" / "ros")

    def make(mode: str) -> None:
        setup_env.MODE.parent.mkdir(parents=True)
        setup_env.MODE.write_text(mode)

    return make


def test_environment_of_a_ros_install_is_not_replaced_when_ros_is_gone(
    setup_env, made_for, monkeypatch
):
    monkeypatch.delenv("ROS_DISTRO", raising=False)
    made_for("install")
    with pytest.raises(setup_env.SetupError, match=r"source its setup.bash first, or .*make clean"):
        setup_env.find_machine()


def test_environment_with_ros_from_wheels_is_not_replaced_when_ros_is_sourced(
    setup_env, made_for, fake_ros
):
    made_for("wheels")
    with pytest.raises(setup_env.SetupError, match=r"a shell without it, or .*make clean"):
        setup_env.find_machine()
    assert setup_env.MODE.read_text() == "wheels"


def test_environment_is_taken_up_where_ros_is_as_it_was(setup_env, made_for, fake_ros, monkeypatch):
    made_for("install")
    assert setup_env.find_machine().ros is True
    setup_env.MODE.write_text("wheels")
    monkeypatch.delenv("ROS_DISTRO")
    assert setup_env.find_machine().ros is False


def test_first_set_up_takes_what_is_sourced(setup_env, made_for, fake_ros):
    assert setup_env.find_machine().ros is True


def test_moved_environment_is_made_anew(checkout, setup_env, monkeypatch):
    machine = setup_env.Machine(base_python="/usr/bin/python3", ros=False)
    step = setup_env.venv_step(machine)
    step.begin()
    step.finish()
    assert setup_env.venv_step(machine).done()
    monkeypatch.setattr(setup_env, "VENV", checkout / "elsewhere" / ".venv")
    assert not setup_env.venv_step(machine).done()


def test_no_python_at_all_is_said_in_one_sentence(tmp_path):
    """A checkout without .venv and a PATH with neither Python nor apt-get."""
    tools, checkout = tmp_path / "bin", tmp_path / "checkout" / "pip_ros"
    tools.mkdir()
    checkout.mkdir(parents=True)
    shutil.copy(SCRIPTS / "setup.sh", checkout)
    for name in ("dirname", "tr", "grep", "paste", "id"):
        (tools / name).symlink_to(shutil.which(name))
    done = subprocess.run(
        [checkout / "setup.sh"], env={"PATH": str(tools)}, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith("setup: no Python 3.10, 3.11 or 3.12 here; install one")
    assert "VLA_PYTHON=" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", ["/nowhere/python3.11", "/bin/false"])
def test_unfit_python_is_refused_in_one_sentence(name):
    done = subprocess.run(
        [SCRIPTS / "setup.sh"],
        env={"PATH": "/usr/bin:/bin", "VLA_PYTHON": name},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert f"{name} is not Python 3.10, 3.11 or 3.12" in done.stderr
    assert len(done.stderr.splitlines()) == 1
