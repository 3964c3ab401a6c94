"""What everything that is generated shares: scene, camera and seed, and what is drawn from it."""

from dataclasses import asdict, dataclass

import numpy as np

from training.evidence.arm_loop import ArmLoop
from training.evidence.sim_camera import SIZE_PX, SimCamera
from vla_ros.core.errors import SceneError
from vla_ros.sim.scene import check_objects
from vla_ros.sim.tasks import Task
from vla_ros.sim.trials import trial_of
from vla_ros.sim.world import DEFAULT_OBJECTS, SimWorld

# As in `sim_node`: scenes of one seed draw layouts from here on; other seeds never meet them.
LAYOUTS_PER_SEED = 100_000
# What is learnt from begins here, so that it meets no layout of a trial or of `sim_node`, whatever
# the seeds.
_FIRST_LAYOUT = 1_000_000_000
_MOST_DRAWS = 20


@dataclass(frozen=True)
class Simulation:
    """What is on the table and how it is seen.

    Attributes:
        seed: of layouts, of motion and of which objects are drawn.
        objects: names of the objects.
        in_play: draw so many of them anew for each scene; 0: all are on the table.
        others: scenes of a task are those of `sim.trials`, with so many known objects beside its
            own, and `objects` are of no meaning; None: scenes are those of `sim_node`.
        camera: name of the camera.
        width, height, rate_hz: of its pictures [px, Hz].

    Raises:
        SceneError: a number is below 0, or an object is unknown.
    """

    seed: int = 0
    objects: tuple[str, ...] = DEFAULT_OBJECTS
    in_play: int = 0
    others: int | None = None
    camera: str = "front"
    width: int = SIZE_PX[0]
    height: int = SIZE_PX[1]
    rate_hz: float = 5.0

    def __post_init__(self):
        object.__setattr__(self, "objects", tuple(self.objects))
        for name in ("seed", "in_play", "others"):
            if (getattr(self, name) or 0) < 0:
                raise SceneError(f"{name} must be 0 or more, got {getattr(self, name)}")
        check_objects(self.objects)

    def to_dict(self) -> dict:
        """Return plain JSON types."""
        return asdict(self) | {"objects": list(self.objects)}

    def layout_seed(self, scene: int) -> int:
        """Return the seed of the layout of a scene, counted from 0."""
        return _FIRST_LAYOUT + self.seed * LAYOUTS_PER_SEED + scene

    def random(self, scene: int, *more: int) -> np.random.Generator:
        """Return a source of chance that is this scene's alone."""
        return np.random.default_rng([self.seed, scene, *more])

    def objects_of(
        self, scene: int, needed: tuple[str, ...] = (), draw: int = 0
    ) -> tuple[str, ...]:
        """Return the objects in play in a scene, those that are needed among them.

        Args:
            scene: counted from 0.
            needed: those of the task.
            draw: another number draws others.
        """
        if not self.in_play:
            return tuple(dict.fromkeys([*needed, *self.objects]))
        others = [name for name in self.objects if name not in needed]
        count = min(max(self.in_play - len(needed), 0), len(others))
        drawn = self.random(scene, 1, draw).choice(len(others), count, replace=False)
        return (*needed, *(others[int(index)] for index in drawn))

    def make_camera(self) -> SimCamera:
        """Return the camera; SceneError where there cannot be such a one."""
        return SimCamera(self.camera, self.width, self.height, self.rate_hz)

    def make_world(self, scene: int, task: Task | None = None) -> SimWorld:
        """Return a scene, with what a task needs in play.

        Raises:
            SceneError: its objects do not fit on the table.
        """
        seed = self.layout_seed(scene)
        if self.others is None:
            return self._drawn_world(scene, () if task is None else task.objects)
        if task is None:
            raise SceneError("play has no task beside which others lie; say in_play instead")
        trial = trial_of(task, seed, others=self.others)
        world = SimWorld(0, task.objects, log=lambda _: None)
        world.reset(0, layout=trial.layout, arm_rad=trial.arm_rad)
        return world

    def _drawn_world(self, scene: int, needed: tuple[str, ...]) -> SimWorld:
        """Return a scene of objects that are drawn until they fit on the table."""
        for draw in range(_MOST_DRAWS):
            objects = self.objects_of(scene, needed, draw)
            try:
                return SimWorld(self.layout_seed(scene), objects, log=lambda _: None)
            except SceneError:
                if not self.in_play:
                    raise
        raise SceneError(
            f"{self.in_play} of {', '.join(self.objects)} do not fit on the table; draw fewer"
        )

    def make_arm(self, scene: int, camera: SimCamera, task: Task | None = None) -> ArmLoop:
        """Return an arm over a scene of its own; raises SceneError as `make_world`."""
        return ArmLoop(self.make_world(scene, task), [camera])
