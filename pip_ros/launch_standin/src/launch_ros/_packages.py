"""Installed packages and what they hold, with errors that say what there is instead."""

from __future__ import annotations

import os
from pathlib import Path

from ament_index_python.packages import (
    PackageNotFoundError,
    get_package_prefix,
    get_packages_with_prefixes,
)
from launch._errors import LaunchError, near_names


def package_prefix(package: str) -> Path:
    """Return the prefix that ``package`` is installed in.

    Raises:
        LaunchError: It is not installed, or no prefix is set.
    """
    if not os.environ.get("AMENT_PREFIX_PATH"):
        raise LaunchError(
            "AMENT_PREFIX_PATH is not set, so no package can be found: "
            "source activate.sh (or the setup file of your ROS install) first"
        )
    try:
        return Path(get_package_prefix(package))
    except (PackageNotFoundError, ValueError):
        raise LaunchError(
            f"there is no package {package!r} under AMENT_PREFIX_PATH: install it or check its "
            f"name (near it: {near_names(package, get_packages_with_prefixes())})"
        ) from None


def package_share(package: str) -> Path:
    """Return the folder of a package's shared files."""
    return package_prefix(package) / "share" / package


def package_executables(package: str) -> dict[str, Path]:
    """Return a package's executables by file name."""
    folder = package_prefix(package) / "lib" / package
    if not folder.is_dir():
        return {}
    return {
        path.name: path
        for path in sorted(folder.iterdir())
        if path.is_file() and os.access(path, os.X_OK)
    }


def package_executable(package: str, name: str) -> Path:
    """Return the path of one executable.

    Raises:
        LaunchError: The package has none of that name; lists those that exist.
    """
    known = package_executables(package)
    if name not in known:
        raise LaunchError(
            f"the package {package!r} has no executable {name!r}: "
            f"it has {near_names(name, known, limit=12)}"
        )
    return known[name]


def package_launch_file(package: str, name: str) -> Path:
    """Return the path of a launch file anywhere in a package's share.

    Raises:
        LaunchError: There is none of that name, or several; lists those that exist.
    """
    share = package_share(package)
    found = sorted(path for path in share.rglob("*") if path.name == name and path.is_file())
    if not found:
        known = [path.name for path in share.rglob("*launch.*") if path.is_file()]
        wish = f"has no launch file {name!r}" if name else "needs a launch file's name after it"
        raise LaunchError(
            f"the package {package!r} {wish}: it has {near_names(name, known, limit=12)}"
        )
    if len(found) > 1:
        raise LaunchError(
            f"the package {package!r} has {len(found)} files called {name!r}: give one by its path "
            f"({', '.join(map(str, found))})"
        )
    return found[0]
