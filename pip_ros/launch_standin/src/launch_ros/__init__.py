"""A small stand-in for ROS 2's ``launch_ros``: see ``launch``."""

from launch._errors import missing_names

_IS_STANDIN = True
__getattr__ = missing_names("launch_ros")
