"""Substitutions that know of packages."""

from __future__ import annotations

from launch._entities import (
    LaunchContext,
    SomeSubstitutionsType,
    Substitution,
    as_substitutions,
    perform_all,
)
from launch._errors import missing_names
from launch_ros._packages import package_share

__getattr__ = missing_names("launch_ros.substitutions")


class FindPackageShare(Substitution):
    """The folder of a package's shared files."""

    def __init__(self, package: SomeSubstitutionsType) -> None:
        self.package = as_substitutions(package)

    def describe(self) -> str:
        return f"FindPackageShare({' + '.join(part.describe() for part in self.package)})"

    def perform(self, context: LaunchContext) -> str:
        return str(package_share(perform_all(context, self.package)))
