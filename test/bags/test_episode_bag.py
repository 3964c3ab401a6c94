"""The bag of an episode, with the types that every ROS 2 has; the rest is tested with the nodes."""

import pytest

from vla_ros.bags.episode_bag import EpisodeBag, Topic
from vla_ros.core.errors import BagError


def test_without_ros_a_type_that_is_not_ros_2s_is_refused_and_nothing_is_left(tmp_path):
    with pytest.raises(BagError, match="it is not ROS 2's"):
        EpisodeBag(tmp_path, "a", [Topic("/x", "interbotix_xs_msgs/msg/JointGroupCommand")])
    assert list(tmp_path.iterdir()) == []
