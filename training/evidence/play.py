"""Undirected play without a graph: the explorer's motion, player and look at each rest.

Scenes follow one another as the explorer's shuffles do; each is a world of its own, so that any
number of processes makes the same bags, and a run that was stopped goes on at the scene it was at.
What the explorer does for real servos - it asks them how they are, and lets them rest - is left
out.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from training.evidence.arm_loop import PERIOD_S, ArmLoop
from training.evidence.episode_writer import EpisodeWriter
from training.evidence.sim_camera import SimCamera
from training.evidence.simulation import LAYOUTS_PER_SEED, Simulation
from vla_ros.core import arm
from vla_ros.core.episode import EpisodeEvent
from vla_ros.core.errors import SafetyError
from vla_ros.core.exploration import PlayMotion
from vla_ros.core.play_parameters import ExplorationParameters
from vla_ros.core.player import Player
from vla_ros.core.rest_look import RestLook, shrunk
from vla_ros.core.scene_change import TableCamera
from vla_ros.sim.mount import mount

# The explorer's defaults: length of a segment, rest between two [s], segments a scene, and blocks
# in a row after which a segment ends.
SEGMENT_S, PAUSE_S = 60.0, 1.0
SEGMENTS_PER_SCENE = 10
_BLOCKED_LIMIT = 3
# An arm that had to be given up begins anew in another scene, so often.
_MOST_LIVES = 5
_SPARE_SCENES = LAYOUTS_PER_SEED // 2
# By the least width of a picture [px]: how it is read, and how many times smaller it is then.
_READING = (
    (640, cv2.IMREAD_REDUCED_GRAYSCALE_4, 4),
    (320, cv2.IMREAD_REDUCED_GRAYSCALE_2, 2),
    (0, cv2.IMREAD_GRAYSCALE, 1),
)

# Told the seconds of play of each segment as it ends, and how it ended.
Say = Callable[[float, str], None]


def episode_id(segment: int) -> str:
    """Return the name of the bag of a segment, counted from 0 over all scenes."""
    return f"play-{segment:05d}"


def play_scene(
    simulation: Simulation, folder: Path, scene: int, segments: int, camera: SimCamera, say: Say
) -> None:
    """Play so many segments in a scene; write to `folder` those whose bags are not there.

    Raises:
        VlaError: scene or bags cannot be made, or the arm had to be given up again and again.
    """
    first, done = scene * SEGMENTS_PER_SCENE, 0
    for life in range(_MOST_LIVES):
        # What a given-up arm has left to play, the segment that it was in too, is played in a
        # scene that no other has.
        number = scene if life == 0 else _SPARE_SCENES + scene * _MOST_LIVES + life
        playing = _Scene(simulation, folder, number, camera, {"generated_scene": str(scene)})
        try:
            for index in range(done, segments):
                say(*playing.segment(episode_id(first + index)))
                done += 1
            return
        except SafetyError as error:
            given_up = error
        finally:
            playing.close()
    raise SafetyError(f"scene {scene} of play was given up {_MOST_LIVES} times, last: {given_up}")


class _Scene:
    """One world and the play in it."""

    def __init__(
        self,
        simulation: Simulation,
        folder: Path,
        number: int,
        camera: SimCamera,
        facts: dict[str, str],
    ):
        self._loop = simulation.make_arm(number, camera)
        seed = str(simulation.seed)
        self._settings = {"seed": simulation.seed, "scene": number}
        world = self._loop.world
        self._writer = EpisodeWriter(folder, world, [camera], {"generated_seed": seed, **facts})
        self._loop.listeners.append(self._writer)
        motion = PlayMotion(ExplorationParameters(), simulation.random(number))
        self._table = _Table(self._loop, camera, motion.interest.moved)
        self._player = Player(
            motion,
            _PlayedArm(self._loop),
            _BLOCKED_LIMIT,
            PERIOD_S,
            now_ns=lambda: self._loop.now_ns,
            blocks_of_arm=lambda: self._loop.loop.blocks,
            warn=lambda _: None,
            look=self._table.look,
        )
        self._loop.go_to(arm.READY_RAD, 1.0)

    def segment(self, name: str) -> tuple[float, str]:
        """Play one segment; return its length [s] and how it ended.

        Raises:
            SafetyError: the arm is given up.
        """
        loop, player = self._loop, self._player
        settings = self._settings
        self._writer.begin(EpisodeEvent("start", name, "play", settings=settings))
        begin_ns = loop.now_ns
        outcome, reason = "whole", "segment over"
        goes_on = player.start()
        while goes_on and (loop.now_ns - begin_ns) * 1e-9 < SEGMENT_S:
            loop.step(player.tick)
            if ended := loop.loop.stop_reason or loop.loop.end_reason:
                raise SafetyError(ended)
            goes_on = player.go_on()
        if not goes_on:
            outcome, reason = "blocked", player.given_up or "the arm was blocked"
        loop.settle()
        self._writer.end(None, reason)
        played_s = (loop.now_ns - begin_ns) * 1e-9
        if not goes_on:
            loop.go_to(arm.READY_RAD, 1.0)
        loop.wait(PAUSE_S)
        if fault := loop.servo_fault():
            raise SafetyError(fault)
        return played_s, outcome

    def close(self) -> None:
        """Leave no open bag behind."""
        self._writer.discard()


class _PlayedArm:
    """What `Player` wants of an arm."""

    def __init__(self, loop: ArmLoop):
        self._loop = loop

    @property
    def measured(self) -> tuple[np.ndarray, float]:
        return self._loop.measured

    @property
    def commanded(self) -> tuple[np.ndarray, float]:
        return self._loop.commanded

    @property
    def blocked_reason(self) -> str:
        return self._loop.loop.blocked_reason

    def set_target(self, q_rad: np.ndarray, opening: float) -> None:
        self._loop.loop.set_target(q_rad, opening)


class _Table:
    """Sees at each rest where something moved, as the explorer's camera does."""

    def __init__(self, loop: ArmLoop, camera: SimCamera, moved: Callable[[np.ndarray], None]):
        self._loop, self._name = loop, camera.name
        self._look = RestLook(moved)
        link, T_base_camera = mount(camera.name)
        self._table: TableCamera | None = None
        if link == "base_link":  # one that moves sees nothing stand still
            self._flag, times = next((f, t) for width, f, t in _READING if camera.width >= width)
            K, size = shrunk(camera.K, times), (camera.width, camera.height)
            width, height = (-(-side // times) for side in size)
            self._table = TableCamera(K, T_base_camera, width, height)

    def look(self, resting: bool, q_rad: np.ndarray) -> None:
        """Compare once a rest."""
        loop = self._loop
        stamp_ns, jpeg = loop.pictures.get(self._name, (None, b""))
        if self._look.is_due(resting, loop.now_ns, stamp_ns) and self._table is not None:
            grey = cv2.imdecode(np.frombuffer(jpeg, np.uint8), self._flag)
            assert grey is not None  # it was encoded just now
            self._look.compare(grey, self._table, q_rad)


def scenes_of(segments: int) -> Iterator[tuple[int, int]]:
    """Yield (scene, its segments) for so many segments in all."""
    for first in range(0, segments, SEGMENTS_PER_SCENE):
        yield first // SEGMENTS_PER_SCENE, min(SEGMENTS_PER_SCENE, segments - first)
