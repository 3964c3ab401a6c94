import numpy as np
import pyarrow.parquet as pq
import pytest

from vla_ros.core import arm
from vla_ros.core.errors import SceneError
from vla_ros.sim import captions, objects
from vla_ros.sim.caption_facts import Thing, facts_of, project, relation
from vla_ros.sim.caption_scenes import SceneSampler, at_rest, inside_grasp
from vla_ros.sim.caption_text import (
    _MAKERS,
    is_held_out_pair,
    millimetres,
    place_in_picture,
    place_on_table,
    questions_of,
)
from vla_ros.sim.caption_wordings import WORDINGS
from vla_ros.sim.captions import FrameMaker, Settings
from vla_ros.sim.render import SceneRenderer
from vla_ros.sim.tableware import PLATE

SETTINGS = Settings(seed=3, image_size=64, questions=6, vary_light=False)


@pytest.fixture(scope="module")
def sampler():
    return SceneSampler()


@pytest.fixture(scope="module")
def counter():
    made = SceneRenderer(160, 120)
    yield made
    made.close()


@pytest.fixture(scope="module")
def facts(sampler, counter):
    """A scene made by hand: carrot at the arm's left of the plate, an apple on the plate."""
    apple = at_rest("apple", 0.30, -0.10, 0.0)
    apple[2, 3] += PLATE.floor_m
    poses = {
        "carrot": at_rest("carrot", 0.30, 0.15, 0.0),
        "plate": at_rest("plate", 0.30, -0.10, 0.0),
        "apple": apple,
    }
    qpos = sampler.qpos(arm.READY_RAD, 1.0, poses)
    return facts_of(qpos, counter.objects_seen(qpos), counter.objects_seen(qpos, with_arm=False))


def _answers(facts, kind, count=400):
    """Return {what is asked about: answer} of many draws of one kind."""
    asked = (_MAKERS[kind](facts, np.random.default_rng(seed)) for seed in range(count))
    return {(a.x, a.y, a.side): a.answer for a in asked if a is not None}


def test_hand_made_scene_is_told_as_it_is(facts):
    assert [thing.name for thing in facts.seen] == ["carrot", "apple", "plate"]
    assert facts.held == ""
    assert facts.on_plate == ("apple",)
    assert facts.opening == pytest.approx(1.0)
    # READY: straight down, 0.15 m above the table at x = 0.25 m.
    assert facts.tool.position_m == pytest.approx((0.25, 0.0, 0.15), abs=2e-4)


def test_answers_about_the_hand_made_scene_are_true(facts):
    assert _answers(facts, "where_place")["carrot", "", ""] == "x 300 y 150 z 15"
    assert _answers(facts, "where_place")["lemon", "", ""] == "not in sight"
    assert _answers(facts, "offset")["carrot", "", ""] == "x 50 y 150 z -135"
    assert _answers(facts, "gripper_height") == {("", "", ""): "150"}
    assert _answers(facts, "opening") == {("", "", ""): "open"}
    assert _answers(facts, "holding") == {("", "", ""): "nothing"}
    assert _answers(facts, "on_plate") == {("", "", ""): "apple"}
    assert _answers(facts, "what_is_there") == {("", "", ""): "carrot, apple and plate"}
    assert _answers(facts, "which_side")["carrot", "plate", ""] == "left of"
    assert _answers(facts, "is_at_side")["plate", "carrot", "left of"] == "no"
    assert _answers(facts, "what_at_side")["carrot", "", "right of"] == "apple and plate"
    assert _answers(facts, "coloured")["", "", "red"] == "apple"
    assert _answers(facts, "coloured")["", "", "purple"] == "nothing"


def test_relation_is_the_arms_own_and_left_open_where_it_is_arguable():
    here = Thing("apple", (0.30, 0.10, 0.02), (0.5, 0.5), 0.8, True)
    there = Thing("lemon", (0.20, 0.11, 0.02), (0.5, 0.5), 0.8, True)
    assert relation(here, there, "behind") is True
    assert relation(here, there, "in front of") is False
    assert relation(here, there, "left of") is None


def test_numbers_are_said_in_one_way():
    assert [millimetres(v) for v in (0.0, -0.001, 0.0126, -0.0374)] == ["0", "0", "15", "-35"]
    assert place_on_table((0.25, -0.046, 0.0)) == "x 250 y -45 z 0"
    assert place_in_picture(Thing("apple", (0, 0, 0), (0.379, 0.999), 1.0, True)) == "37 99"


def test_projection_is_where_the_renderer_draws(sampler, counter):
    qpos = sampler.qpos(arm.SLEEP_RAD, 1.0, {"orange": at_rest("orange", 0.32, 0.12, 0.0)})
    mask = counter.objects_seen(qpos) == objects.OBJECT_NAMES.index("orange")
    rows, columns = np.nonzero(mask)
    u, v, depth = project("front", (0.32, 0.12, 0.0195))
    assert u * 160 - 0.5 == pytest.approx(columns.mean(), abs=0.7)
    assert v * 120 - 0.5 == pytest.approx(rows.mean(), abs=0.7)
    assert 0.7 < depth < np.linalg.norm(np.subtract((0.88, 0.17, 0.60), (0.32, 0.12, 0.02)))


def test_camera_on_the_arm_is_refused():
    with pytest.raises(SceneError, match="stands still"):
        project("wrist", (0.2, 0.0, 0.0))


def test_object_behind_the_arm_is_not_asked_about(sampler, counter):
    poses = {"lemon": at_rest("lemon", 0.05, 0.0, 0.0)}  # inside the shoulder
    qpos = sampler.qpos(arm.READY_RAD, 1.0, poses)
    shown, bare = counter.objects_seen(qpos), counter.objects_seen(qpos, with_arm=False)
    assert (bare == objects.OBJECT_NAMES.index("lemon")).sum() > 20
    facts = facts_of(qpos, shown, bare)
    assert facts.seen == ()
    assert _answers(facts, "where_picture")["lemon", "", ""] == "not in sight"
    # The arm is back for the next picture.
    assert np.array_equal(counter.objects_seen(qpos), shown)


def test_marked_pixels_leave_pictures_as_they_were(sampler, counter):
    qpos = sampler.draw(np.random.default_rng(0))
    before = counter.render(qpos)
    counter.objects_seen(qpos, with_arm=False)
    assert np.array_equal(counter.render(qpos), before)


def test_toy_is_held_only_when_pads_touch_it():
    toy = objects.TOYS["apple"]
    tool = np.eye(4)
    finger = toy.half_width_m + 0.014
    assert inside_grasp(tool, finger, toy, np.eye(4))
    assert not inside_grasp(tool, arm.FINGER_OPEN_M + 0.004, toy, np.eye(4))
    away = np.eye(4)
    away[1, 3] = 0.02
    assert not inside_grasp(tool, finger, toy, away)


def test_scenes_are_of_all_sorts_and_repeat(sampler):
    blank = np.zeros((12, 16), dtype=int)
    scenes = [sampler.draw(np.random.default_rng([0, k])) for k in range(60)]
    told = [facts_of(qpos, blank, blank) for qpos in scenes]
    assert 5 <= sum(bool(facts.held) for facts in told) <= 35
    assert any(facts.on_plate for facts in told)
    assert any(facts.tool.position_m[2] < 0.03 for facts in told)
    assert all(0.0 < facts.tool.position_m[2] < 0.33 for facts in told)
    assert np.array_equal(sampler.draw(np.random.default_rng([0, 7])), scenes[7])


def test_only_chosen_objects_are_there_and_asked_about():
    names = ("apple", "bowl")
    maker = FrameMaker(Settings(seed=3, image_size=32, questions=20, vary_light=False, names=names))
    frames = [maker.frame(number)[1:] for number in range(8)]
    maker.close()
    assert {thing.name for facts, _ in frames for thing in facts.things} == set(names)
    prompts = " ".join(question.prompt for _, questions in frames for question in questions)
    named = {name for name in objects.OBJECT_NAMES if f"the {name}" in prompts}
    assert named == set(names)


def test_unknown_object_is_a_sentence_and_leaves_nothing(tmp_path, capsys):
    out = tmp_path / "captions"
    arguments = ["--out", str(out), "--frames", "1", "--objects", "apple, brick"]
    assert captions.main(arguments) == 1
    assert "object 'brick' is not in the simulated scene; choose" in capsys.readouterr().err
    assert not out.exists()


def test_last_wording_and_one_pair_in_five_are_held_out(facts):
    rng = np.random.default_rng(1)
    questions = [q for _ in range(80) for q in questions_of(facts, rng, 10)]
    # None of carrot, apple and plate make a pair that is held out.
    assert {q.held_out for q in questions} == {"", "wording"}
    for question in questions:
        last = WORDINGS[question.kind][-1].split("{")[0]
        if question.held_out == "" and last:
            assert last not in question.prompt
    assert is_held_out_pair("pumpkin", "plate")  # 4 + 3 x 7 = 25
    assert not is_held_out_pair("carrot", "plate")  # 0 + 3 x 7 = 21
    assert is_held_out_pair("apple", "lemon") == is_held_out_pair("lemon", "apple")
    names = objects.KNOWN_NAMES
    pairs = [is_held_out_pair(a, b) for k, a in enumerate(names) for b in names[:k]]
    assert 0.1 < sum(pairs) / len(pairs) < 0.3


def test_shards_resume_and_equal_seeds_give_equal_frames(tmp_path, monkeypatch):
    monkeypatch.setattr(captions, "SHARD_FRAMES", 2)
    captions.generate(tmp_path, 3, SETTINGS, workers=1)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["captions.json", "shard-00000.parquet", "shard-00001.parquet"]
    first = pq.read_table(tmp_path / names[1])
    assert first.schema.equals(captions.SCHEMA)
    assert first["frame"].to_pylist() == [0, 1]
    # A damaged shard and a short one are made anew, the other stays.
    (tmp_path / names[1]).write_bytes(b"PAR1")
    assert captions.missing_shards(tmp_path, 4) == [(0, 2), (1, 2)]
    captions.generate(tmp_path, 4, SETTINGS, workers=1)
    assert pq.read_table(tmp_path / names[1]).equals(first)
    assert captions.missing_shards(tmp_path, 4) == []


def test_folder_of_other_settings_is_refused(tmp_path):
    captions.prepare_folder(tmp_path, SETTINGS)
    other = Settings(seed=4, image_size=64, questions=6, vary_light=False)
    with pytest.raises(SceneError, match="other settings"):
        captions.prepare_folder(tmp_path, other)


def test_looks_vary_every_few_frames_and_are_the_frames_own():
    settings = Settings(3, 32, 1, vary_light=False, vary_looks=True)
    maker = FrameMaker(settings)
    there = {number: maker.frame(number)[0] for number in (0, 9, 10, 25)}
    maker.close()
    again = FrameMaker(settings)
    for number in (25, 0, 10, 9):
        np.testing.assert_array_equal(again.frame(number)[0], there[number])
    again.close()
    # The upper right corner shows the wall, or the floor: of 0 and 9 the same one.
    corners = {number: picture[0, -1].astype(int) for number, picture in there.items()}
    assert np.abs(corners[0] - corners[9]).max() < 3
    assert np.abs(corners[0] - corners[10]).max() > 10


def test_light_varies_only_when_asked():
    pictures = []
    for vary in (False, True):
        settings = Settings(seed=3, image_size=64, questions=1, vary_light=vary)
        maker = FrameMaker(settings)
        pictures.append(maker.frame(0)[0])
        maker.close()
    assert not np.array_equal(*pictures)
