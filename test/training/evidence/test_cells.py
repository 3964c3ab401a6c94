"""What is held out is held out, and a trial's scene is everybody's."""

import numpy as np
import pytest

from training.evidence.cells import (
    APT_CELLS,
    APT_SEEN,
    APT_UNSEEN,
    PAPER_SCENARIOS,
    TAP_CELLS,
    TAP_TASKS,
    cells_named,
    task_cell,
)
from vla_ros.core.errors import SceneError
from vla_ros.sim import objects
from vla_ros.sim.tasks import parse_tasks

BY_NAME = {cell.name: cell for cell in (*TAP_CELLS, *APT_CELLS)}
TRAINED = {task.instruction for task in APT_SEEN}


def test_each_toy_misses_one_place_and_each_place_is_missed():
    assert not set(APT_SEEN) & set(APT_UNSEEN)
    assert len(APT_SEEN) + len(APT_UNSEEN) == len(objects.KNOWN_TOY_NAMES) * len(objects.PLACES)
    assert sorted(t.target for t in APT_UNSEEN) == sorted(objects.KNOWN_TOY_NAMES)
    assert {t.place for t in APT_UNSEEN} == {t.place for t in APT_SEEN} == set(objects.PLACES)


@pytest.mark.parametrize(
    "name", ["unseen combinations", "unseen objects", "paraphrases", "chained"]
)
def test_sentences_of_unseen_cells_are_not_trained_on(name):
    sentences = {s for ask in BY_NAME[name].asks for s in ask.sentences}
    assert not sentences & TRAINED


def test_the_task_of_the_demo_is_among_those_of_training_for_either_method():
    assert TAP_TASKS["carrot"] in APT_SEEN


def test_unseen_objects_are_in_no_scene_of_training():
    toys = {ask.tasks[0].target for ask in BY_NAME["unseen objects"].asks}
    assert toys == set(objects.NOVEL_TOY_NAMES)
    assert not toys & set(objects.KNOWN_NAMES)


def test_paraphrases_ask_for_what_was_trained_and_are_judged_as_such():
    for ask in BY_NAME["paraphrases"].asks:
        assert set(ask.tasks) <= set(APT_SEEN)
        assert ask.sentences[0] in ask.tasks[0].paraphrases


def test_a_chain_is_one_sentence_or_one_for_each():
    pairs = [ask.tasks for ask in BY_NAME["chained"].asks]
    assert len(pairs) >= 10
    for ask in BY_NAME["chained"].asks:
        (sentence,) = ask.sentences
        assert parse_tasks(sentence) == ask.tasks
    for ask in BY_NAME["coached"].asks:
        assert ask.sentences == tuple(task.instruction for task in ask.tasks)
    assert [ask.tasks for ask in BY_NAME["coached"].asks] == pairs


@pytest.mark.parametrize("scenario", PAPER_SCENARIOS[1:])
def test_a_scenario_leaves_the_task_where_it_lies(scenario):
    standard, other = BY_NAME["carrot/standard"], BY_NAME[f"carrot/{scenario}"]
    for trial in range(4):
        here, there = standard.scene(trial, 3), other.scene(trial, 3)
        assert all(there.layout[name] == place for name, place in here.layout.items())
    changed = (
        here.look != there.look,
        len(here.layout) != len(there.layout),
        not np.array_equal(here.arm_rad, there.arm_rad),
    )
    assert sum(changed) == 1


def test_scenes_differ_by_trial_and_seed_and_are_equal_for_equal_ones():
    cell = BY_NAME["seen"]
    assert cell.scene(5, 1).layout == cell.scene(5, 1).layout
    assert cell.scene(5, 1).layout != cell.scene(5, 2).layout
    assert cell.scene(0, 1).layout != cell.scene(len(cell.asks), 1).layout


def test_both_tasks_of_a_chain_have_their_objects():
    scene, ask = BY_NAME["chained"].scene(2, 0), BY_NAME["chained"].ask(2)
    assert set(scene.layout) == {name for task in ask.tasks for name in task.objects}


def test_cells_are_found_by_name_and_method():
    assert cells_named(["tap"]) == TAP_CELLS
    assert [c.name for c in cells_named(["seen", "apt"])] == [c.name for c in APT_CELLS]
    with pytest.raises(SceneError, match="'carrots'"):
        cells_named(["seen", "carrots"])


def test_what_nobody_can_judge_is_no_cell():
    assert task_cell("Put the carrot on the plate!").asks[0].tasks == (TAP_TASKS["carrot"],)
    with pytest.raises(SceneError, match="cannot judge"):
        task_cell("make me happy")
