"""What the machine offers to set-up: its Python, a sourced ROS, Debian packages."""

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


class SetupError(Exception):
    """Set-up cannot go on. The message is one sentence: what, where, and the remedy."""


@dataclass(frozen=True)
class Machine:
    """The interpreter that .venv is made from, and whether a sourced ROS supplies rclpy."""

    base_python: str
    ros: bool


def real_ros(base_python: str, venv: Path) -> bool:
    """Tell whether a ROS install is sourced whose rclpy and launch this Python imports.

    The names must come from outside `venv`, where the wheels and the stand-in have them too.
    """
    if "ROS_DISTRO" not in os.environ:
        return False
    code = "import launch, launch_ros, rclpy; print(rclpy.__file__)"
    found = subprocess.run([base_python, "-c", code], capture_output=True, text=True)
    return found.returncode == 0 and not Path(found.stdout.strip()).is_relative_to(venv)


def loads(*libraries: str) -> bool:
    """Tell whether all of the shared libraries can be loaded."""
    try:
        for library in libraries:
            ctypes.CDLL(library)
    except OSError:
        return False
    return True


def python_headers() -> Path:
    return Path(sysconfig.get_config_var("INCLUDEPY"))


def needed_packages() -> list[tuple[str, Callable[[], bool]]]:
    """Return the Debian packages that set-up cannot do without, each with its test."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return [
        ("g++", lambda: shutil.which("g++") is not None or shutil.which("c++") is not None),
        (f"{version}-venv", lambda: importlib.util.find_spec("ensurepip") is not None),
        (f"{version}-dev", lambda: (python_headers() / "Python.h").is_file()),
    ]


def rendering_packages() -> list[tuple[str, Callable[[], bool]]]:
    """Return the packages that MuJoCo's cameras need; OSMesa alone would do as well."""
    return [
        ("libegl1", lambda: loads("libEGL.so.1") or loads("libOSMesa.so.8")),
        ("libgl1", lambda: loads("libGL.so.1") or loads("libOSMesa.so.8")),
    ]


def missing(packages: list[tuple[str, Callable[[], bool]]]) -> list[str]:
    return [name for name, present in packages if not present()]


def require_system_packages(log: Path) -> None:
    """Install the missing Debian packages as root; otherwise say which they are.

    Raises:
        SetupError: something is missing that set-up cannot do without.
    """
    names = missing(needed_packages()) + missing(rendering_packages())
    if not names:
        return
    tried = ""
    if os.geteuid() == 0 and shutil.which("apt-get"):
        apt_install(names, log)
        tried = f" (tried just now; {log.name} in {log.parent} says why it failed)"
    essential, rendering = missing(needed_packages()), missing(rendering_packages())
    if essential:
        raise SetupError(
            f"missing {', '.join(essential)}: run `sudo apt-get install "
            f"{' '.join(essential + rendering)}`{tried}, then `make setup` again."
        )
    if rendering:
        print(
            f"setup: without {' and '.join(rendering)} the simulated cameras stay dark: run "
            f"`sudo apt-get install {' '.join(rendering)}`.",
            file=sys.stderr,
        )


def apt_install(names: list[str], log: Path) -> None:
    """Try to install packages; whoever called looks whether it helped."""
    print(f"setup: installing {' '.join(names)} with apt-get ...", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "--no-install-recommends", *names]
    with log.open("w") as output:
        for command in (["apt-get", "update"], install):
            subprocess.run(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
    importlib.invalidate_caches()
