"""A small stand-in for ROS 2's ``launch``: what our launch files use, and a little more.

The rest are pieces that small launch files commonly use. Installed where ROS 2 comes from wheels,
which do not carry the real package. A launch file written for it runs unchanged under the real one;
whatever is missing here names itself when used.
"""

from launch._entities import (
    Action,
    LaunchContext,
    LaunchDescription,
    LaunchDescriptionEntity,
    SomeSubstitutionsType,
    Substitution,
)
from launch._errors import missing_names

__all__ = [
    "Action",
    "LaunchContext",
    "LaunchDescription",
    "LaunchDescriptionEntity",
    "SomeSubstitutionsType",
    "Substitution",
]

_IS_STANDIN = True
__getattr__ = missing_names("launch")
