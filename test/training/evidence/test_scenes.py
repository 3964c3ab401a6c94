"""Scenes that are generated: what lies in them, and what becomes of an arm that is given up."""

import pytest

from training.evidence import demos, play, simulation
from training.evidence.simulation import LAYOUTS_PER_SEED, Simulation
from vla_ros.core.errors import SafetyError, SceneError
from vla_ros.sim.trials import trial_of

SIMULATION = Simulation(seed=7, width=32, height=32)


def test_an_arm_that_is_given_up_goes_on_in_a_scene_of_its_own(monkeypatch, tmp_path):
    played = []

    class Scene:
        def __init__(self, simulation, folder, number, camera, facts):
            self.number = number

        def segment(self, name):
            played.append((self.number, name))
            if played == [(4, "play-00040"), (4, "play-00041")]:
                raise SafetyError("the waist is blocked")
            return 60.0, "whole"

        def close(self):
            played.append("closed")

    monkeypatch.setattr(play, "_Scene", Scene)
    told = []
    play.play_scene(SIMULATION, tmp_path, 4, 3, None, lambda *said: told.append(said))
    spare = 50_000 + 4 * 5 + 1
    assert played[:3] == [(4, "play-00040"), (4, "play-00041"), "closed"]
    assert played[3:] == [(spare, "play-00041"), (spare, "play-00042"), "closed"]
    assert told == [(60.0, "whole")] * 3

    def never(self, name):
        raise SafetyError("the waist is blocked")

    monkeypatch.setattr(Scene, "segment", never)
    with pytest.raises(SafetyError, match="given up 5 times, last: the waist is blocked"):
        play.play_scene(SIMULATION, tmp_path, 4, 3, None, lambda *_: None)


def test_a_segment_that_a_stop_ends_leaves_no_bag(tmp_path):
    camera = SIMULATION.make_camera()
    scene = play._Scene(SIMULATION, tmp_path, 0, camera, {})
    scene._loop.loop.end_reason = "the arm is gone"
    with pytest.raises(SafetyError, match="the arm is gone"):
        scene.segment("play-00000")
    scene.close()
    camera.close()
    assert list(tmp_path.iterdir()) == []


def test_objects_are_drawn_anew_for_each_scene_with_those_that_the_task_needs():
    some = Simulation(seed=1, in_play=3)
    drawn = [some.objects_of(scene, ("carrot", "plate")) for scene in range(20)]
    assert all(objects[:2] == ("carrot", "plate") and len(objects) == 3 for objects in drawn)
    assert {objects[2] for objects in drawn} == {"banana", "apple", "pumpkin"}
    assert some.objects_of(4) == some.objects_of(4)
    assert Simulation().objects_of(0, ("plate",))[0] == "plate"


def test_scenes_of_learning_are_no_scenes_of_trials():
    """With `others` they are of the same kind, with layouts that no trial or sim_node has."""
    task = demos.task_of("put the carrot on the plate")
    beside = Simulation(seed=2, others=2)
    world = beside.make_world(3, task)
    assert world.objects[:2] == ("plate", "carrot")
    assert len(world.layout) == 4
    assert world.layout == trial_of(task, beside.layout_seed(3), others=2).layout
    seeds = {Simulation(seed).layout_seed(scene) for seed in range(3) for scene in range(5)}
    assert len(seeds) == 15
    assert min(seeds) >= 10_000 * LAYOUTS_PER_SEED
    with pytest.raises(SceneError, match="play has no task"):
        beside.make_world(0)


def test_what_does_not_fit_is_drawn_anew_and_no_demonstration(monkeypatch, tmp_path):
    some, drawn = Simulation(seed=1, in_play=3), []

    class Table:
        def __init__(self, seed, objects, log):
            drawn.append(objects)
            if len(drawn) < 3:
                raise SceneError("objects do not fit on the reachable table; use fewer")

    monkeypatch.setattr(simulation, "SimWorld", Table)
    some.make_world(5)
    assert drawn == [some.objects_of(5, (), draw) for draw in range(3)]
    assert len({frozenset(objects) for objects in drawn}) > 1
    drawn.clear()
    reason = demos.demonstrate(Simulation(), "put the carrot on the plate", tmp_path, 0, None)
    assert "do not fit" in reason
    assert len(drawn) == 1
