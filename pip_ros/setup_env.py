"""Prepare .venv in the checkout: `make setup`.

Each step is skipped when its stamp says that its inputs are unchanged. A stamp is a hash of the
inputs, written last and in one piece, so an install that was cut off anywhere is taken up again by
the next call. Standard library only: this runs before anything is installed.

Environment: VLA_PYTHON is the interpreter to use (see setup.sh), VLA_TORCH_INDEX the address of an
additional package index for torch.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from machine import Machine, SetupError, python_headers, real_ros, require_system_packages
from steps import LOCK, LOGS, ROOT, STAMPS, VENV, Step, digest

PYTHON = VENV / "bin" / "python"
MODE = STAMPS / "ros"  # "install" or "wheels"; activate.sh reads it
REQUIREMENTS = ROOT / "pip_ros" / "requirements"
CONSTRAINTS = REQUIREMENTS / "constraints.txt"
# Interface packages that no wheel has, in the order of building: name -> folder in the checkout.
MESSAGES = {
    "interbotix_xs_msgs": "pip_ros/interbotix_xs_msgs",
    "tf2_msgs": "pip_ros/tf2_msgs",
    "vla_ros_msgs": "vla_ros_msgs",
}
STANDIN = ROOT / "pip_ros" / "launch_standin"
EXTRAS = "pip_ros/requirements/extras.txt"  # setup.py reads it
PACKAGE = (
    "vla_ros",
    "checkpoints",
    "launch",
    "config",
    "scripts",
    "resource",
    "setup.py",
    "package.xml",
    EXTRAS,
)


def pip(*arguments: str | Path) -> tuple[str | Path, ...]:
    """Return a pip command. Bytecode is left to the first import: torch's takes half a minute."""
    options = ("--no-compile", "--no-input", "--disable-pip-version-check")
    return (PYTHON, "-m", "pip", "install", *options, *arguments)


def pip_files(files: Iterable[Path]) -> tuple[str | Path, ...]:
    requirements = [part for path in files for part in ("--requirement", path)]
    return pip("--constraint", CONSTRAINTS, *requirements)


def requirement_files(machine: Machine) -> tuple[list[Path], list[Path]]:
    """Return the files for ROS and those for everything, which must not move what ROS pinned."""
    ros = [REQUIREMENTS / ("ros-install.txt" if machine.ros else "ros-jazzy.txt")]
    return ros, [*ros, REQUIREMENTS / "learning.txt", REQUIREMENTS / "dev.txt"]


def python_starts() -> bool:
    """Tell whether .venv's interpreter still runs; its base may have been removed."""
    if not PYTHON.exists():
        return False
    return subprocess.run([PYTHON, "-S", "-c", ""], capture_output=True).returncode == 0


def venv_step(machine: Machine) -> Step:
    version = ".".join(map(str, sys.version_info[:2]))
    # The path too: a moved or copied .venv would still run the interpreter where it was made.
    key = digest(str(VENV), machine.base_python, version, str(machine.ros))
    return Step("venv", "virtual environment", key)


def make_venv(step: Step, machine: Machine) -> None:
    if VENV.is_symlink() or VENV.is_file():
        raise SetupError(f"{VENV} is not a folder: move it away, then `make setup` again.")
    if VENV.exists():
        shutil.rmtree(VENV)
    site = ["--system-site-packages"] if machine.ros else []
    step.run(machine.base_python, "-m", "venv", *site, VENV)
    STAMPS.mkdir()
    MODE.write_text("install" if machine.ros else "wheels")


def drop_half_installed() -> None:
    """Forget packages cut off half-way: pip writes RECORD last, yet believes METADATA alone."""
    for library in VENV.glob("lib/python3*/site-packages"):
        for folder in library.glob("*.dist-info"):
            if not (folder / "RECORD").is_file():
                shutil.rmtree(folder)
        for folder in library.glob("~*"):
            shutil.rmtree(folder, ignore_errors=True)


def correct_cmake_paths() -> None:
    """Point the wheels' CMake files to this machine's headers: they name their build machine's."""
    python = str(python_headers())
    numpy = str(next(VENV.glob("lib/python3*/site-packages/numpy/_core/include")))
    builder = r"/opt/python/cp\d+-cp\d+"
    for path in VENV.glob("share/*/cmake/*.cmake"):
        old = path.read_text()
        new = re.sub(builder + r"/lib/[^;\"]*/numpy/_core/include", numpy, old)
        new = re.sub(builder + r"/include/python3\.\d+", python, new)
        if new != old:
            draft = path.with_suffix(".new")
            draft.write_text(new)
            os.replace(draft, path)


def build_messages(step: Step, machine: Machine) -> None:
    """Build the interface package of the step's name into .venv, unless the ROS install has it."""
    name = step.name
    # A source folder of that name, found from where this was called, has no __file__.
    probe = f"import {name} as m; assert m.__file__ and not m.__file__.startswith({str(VENV)!r})"
    if machine.ros and subprocess.run([PYTHON, "-c", probe], capture_output=True).returncode == 0:
        return
    if not machine.ros:
        correct_cmake_paths()
    build = VENV / "build" / name
    shutil.rmtree(build, ignore_errors=True)
    prefixes = [str(VENV), *filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(":"))]
    libraries = [f"{VENV}/lib", *filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(":"))]
    environment = {
        "AMENT_PREFIX_PATH": ":".join(prefixes),
        "LD_LIBRARY_PATH": ":".join(libraries),
        "PATH": f"{VENV}/bin:{os.environ['PATH']}",
    }
    configure = (VENV / "bin" / "cmake", "-G", "Ninja", "-S", ROOT / MESSAGES[name], "-B", build)
    options = {
        "CMAKE_BUILD_TYPE": "Release",
        "CMAKE_INSTALL_PREFIX": VENV,
        "CMAKE_PREFIX_PATH": ";".join(prefixes),
        "Python3_EXECUTABLE": PYTHON,
        "BUILD_TESTING": "OFF",
    }
    definitions = [f"-D{name}={value}" for name, value in options.items()]
    step.run(*configure, *definitions, **environment)
    step.run(VENV / "bin" / "ninja", "-C", build, "install", **environment)
    shutil.rmtree(build)


def install_wheels(machine: Machine) -> str:
    """Install ROS, then build the messages while pip fetches the rest; return a key of it all."""
    ros_files, all_files = requirement_files(machine)
    index = os.environ.get("VLA_TORCH_INDEX", "")
    base = digest(venv_step(machine).key, CONSTRAINTS, *ros_files)
    ros = Step("ros_packages", "ROS 2 and build tools", base)
    messages = [Step(name, name, digest(base, ROOT / folder)) for name, folder in MESSAGES.items()]
    learning = Step("learning", "torch, MuJoCo and the rest", digest(base, index, *all_files))

    if not ros.done() or not learning.done():
        drop_half_installed()
    perform(ros, lambda step, _: step.run(*pip_files(ros_files)), machine)
    fetching = None
    if not learning.done():
        learning.begin()
        extra = ["--extra-index-url", index] if index else []
        fetching = learning.command(*pip_files(all_files), *extra)
    try:
        for package in messages:
            perform(package, build_messages, machine)
        if fetching:
            learning.wait_for(fetching)
            learning.finish()
    finally:
        if fetching and fetching.poll() is None:
            fetching.terminate()
            fetching.wait()
    return digest(*(package.key for package in messages), learning.key)


def install_copy(step: Step, source: Path, names: Iterable[str]) -> None:
    """Install from a copy: what a build leaves in the checkout, the next would install again."""
    drop_half_installed()
    work = VENV / "build" / step.name
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
    for name in names:
        path = source / name
        if path.is_dir():
            shutil.copytree(path, work / name, ignore=ignore, dirs_exist_ok=True)
        elif path.is_file():
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, work / name)
    options = ("--no-deps", "--no-build-isolation", "--use-pep517", "--force-reinstall")
    step.run(*pip(*options, work))
    shutil.rmtree(work)


def install_launch(step: Step, machine: Machine) -> None:
    """Install the stand-in for launch where the real one does not import."""
    if not machine.ros:
        install_copy(step, STANDIN, ["."])


def install_package(step: Step, machine: Machine) -> None:
    install_copy(step, ROOT, PACKAGE)


def check_imports(step: Step, machine: Machine) -> None:
    ros = (
        "rclpy, sensor_msgs.msg, interbotix_xs_msgs.msg, tf2_msgs.msg, vla_ros_msgs.action, "
        "launch, launch_ros, vla_ros"
    )
    rest = "torch, transformers, mujoco, cv2, av, pyarrow, rosbags.highlevel"
    libraries = os.environ.get("LD_LIBRARY_PATH")
    path = f"{VENV}/lib:{libraries}" if libraries else f"{VENV}/lib"
    # A display is the simulator's business, and MuJoCo would look for one at import.
    step.run(*(PYTHON, "-c", f"import {ros}, {rest}"), LD_LIBRARY_PATH=path, MUJOCO_GL="disable")


def perform(step: Step, action: Callable[[Step, Machine], None], machine: Machine) -> None:
    if not step.done():
        step.begin()
        action(step, machine)
        step.finish()


def find_machine() -> Machine:
    """Look at the machine, and drop what another ROS environment may have left in this shell.

    Raises:
        SetupError: .venv belongs to a ROS install that is not sourced, or ROS is sourced and
            .venv has its own from wheels.
    """
    base_python = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    machine = Machine(base_python=base_python, ros=real_ros(base_python, VENV))
    if not machine.ros and MODE.is_file() and MODE.read_text() == "install":
        raise SetupError(
            ".venv was made for a ROS install that is not sourced here: source its setup.bash "
            "first, or run `make clean` to set up with ROS 2 from wheels."
        )
    if machine.ros and MODE.is_file() and MODE.read_text() == "wheels":
        raise SetupError(
            ".venv has ROS 2 from wheels, and a ROS install is sourced here: use a shell without "
            "it, or run `make clean` to set up on the install."
        )
    if not machine.ros:
        for name in ("AMENT_PREFIX_PATH", "LD_LIBRARY_PATH", "PYTHONPATH"):
            os.environ.pop(name, None)
    os.environ.pop("_ROS_WHEELS_BOOTSTRAP_COMPLETE", None)
    return machine


def prepare() -> None:
    """Bring .venv up to date.

    Raises:
        SetupError: something is missing or failed; the sentence says what to do.
    """
    machine = find_machine()
    venv = venv_step(machine)
    if not python_starts() or not venv.done():
        LOGS.mkdir(parents=True, exist_ok=True)
        require_system_packages(LOGS / "apt.log")
        venv.begin()
        make_venv(venv, machine)
        venv.finish()
    wheels = install_wheels(machine)
    launch = Step("launch", "launch and ros2", digest(wheels, STANDIN))
    perform(launch, install_launch, machine)
    package_key = digest(wheels, *(ROOT / name for name in PACKAGE))
    perform(Step("vla_ros", "vla_ros", package_key), install_package, machine)
    perform(Step("check", "imports", digest("imports", wheels)), check_imports, machine)


def main() -> int:
    """Run under a lock, so that two calls do not install into each other."""
    started = time.monotonic()
    try:
        fcntl.flock(LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("setup: waiting for another set-up of this checkout to end", flush=True)
        fcntl.flock(LOCK, fcntl.LOCK_EX)
    try:
        prepare()
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        remedy = "see to the disk's space and rights, then `make setup` again."
        print(f"setup: {error}; {remedy}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("setup: interrupted; `make setup` resumes here.", file=sys.stderr)
        return 130
    seconds = time.monotonic() - started
    if seconds > 2:
        print(f"setup: ready after {seconds:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
