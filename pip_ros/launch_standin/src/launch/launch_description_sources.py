"""Where launch descriptions come from: Python files."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from launch._entities import (
    LaunchContext,
    LaunchDescription,
    SomeSubstitutionsType,
    as_substitutions,
    perform_all,
)
from launch._errors import LaunchError, missing_names

__getattr__ = missing_names("launch.launch_description_sources")


class PythonLaunchDescriptionSource:
    """A launch file with a ``generate_launch_description`` function; read once a path."""

    def __init__(self, launch_file_path: SomeSubstitutionsType) -> None:
        self.parts = as_substitutions(launch_file_path)
        self._read: dict[Path, LaunchDescription] = {}

    def location(self, context: LaunchContext) -> Path:
        """Return the launch file's path."""
        return Path(perform_all(context, self.parts))

    def get_launch_description(self, context: LaunchContext) -> LaunchDescription:
        """Return what the launch file describes.

        Raises:
            LaunchError: The file is absent, is no Python launch file or returns something else.
        """
        path = self.location(context)
        if path not in self._read:
            self._read[path] = _read_launch_file(path)
        return self._read[path]


def _read_launch_file(path: Path) -> LaunchDescription:
    if not path.is_file():
        raise LaunchError(f"there is no launch file {path}: check its name, or install it")
    if path.suffix != ".py":
        raise LaunchError(
            f"{path.name} is no Python launch file, and the launch stand-in reads no other: "
            "use NAME.launch.py, or a ROS 2 install"
        )
    module_name = "launch_file_" + "".join(c if c.isalnum() else "_" for c in path.stem)
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise LaunchError(f"{path} cannot be read as a Python file: check it")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "generate_launch_description"):
        raise LaunchError(f"{path} has no generate_launch_description() function: add it")
    description = module.generate_launch_description()
    if not isinstance(description, LaunchDescription):
        raise LaunchError(
            f"generate_launch_description() of {path} returned {type(description).__name__}: "
            "it must return a LaunchDescription"
        )
    return description
