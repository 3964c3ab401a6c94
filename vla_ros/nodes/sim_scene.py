"""What the simulator adds to a driver: tasks that are judged, and scenes that are laid out anew."""

import json

from std_msgs.msg import String
from std_srvs.srv import Trigger

from vla_ros.nodes import qos
from vla_ros.nodes.lifetime import ShellNode
from vla_ros.sim.tasks import parse_task
from vla_ros.sim.world import SimWorld

# Episodes of one seed draw layouts from here on; other seeds never meet them.
_LAYOUTS_PER_SEED = 100_000


class SceneTopics:
    """Tells how far the task is, and serves /sim/reset.

    Args:
        node: the node to live in.
        world: the arm and its table, laid out with `first_layout` of the same seed.
        seed: of the layouts.
    """

    def __init__(self, node: ShellNode, world: SimWorld, seed: int):
        self._node = node
        self._world = world
        self._seed = seed
        self._episode = 0
        self._task_text = ""
        self._task = None
        self._told: dict = {}
        self._states = node.create_publisher(String, qos.SIM_TASK_STATE_TOPIC, qos.LATCHED)
        node.create_subscription(String, qos.TASK_TOPIC, self._on_task, qos.LATCHED)
        node.create_service(Trigger, qos.SIM_RESET_SERVICE, self._on_reset)

    @staticmethod
    def first_layout(seed: int) -> int:
        """Return the seed of the first episode's layout."""
        return seed * _LAYOUTS_PER_SEED

    @property
    def _layout_seed(self) -> int:
        return self.first_layout(self._seed) + self._episode

    def tell(self) -> None:
        """Publish how far the task is, when that changed; null where nobody can judge."""
        state = self._task.evaluate(self._world) if self._task is not None else None
        told = {
            "task": self._task_text,
            "episode": self._episode,
            "partial": None if state is None else state.partial,
            "success": None if state is None else state.success,
            "layout_seed": self._layout_seed,
        }
        if told != self._told:
            self._told = told
            self._states.publish(String(data=json.dumps(told, ensure_ascii=False)))

    def _on_task(self, message: String) -> None:
        self._task_text = message.data
        self._task = parse_task(message.data)
        missing = set(self._task.objects if self._task else ()) - set(self._world.objects)
        if missing:
            self._node.get_logger().warning(
                f"nobody can judge the task {message.data!r}: {', '.join(sorted(missing))} not on "
                "the table; add it to the parameter objects"
            )
            self._task = None
        self.tell()

    def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Lay the objects out anew; arm and time go on, so that no joint ever jumps."""
        self._episode += 1
        layout = self._world.reset(self._layout_seed, keep_arm=True)
        self.tell()
        response.success = True
        response.message = json.dumps(
            {"episode": self._episode, "layout_seed": self._layout_seed, "layout": layout}
        )
        return response
