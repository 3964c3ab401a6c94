import json
from dataclasses import replace

import numpy as np
import pytest

from training.datasets.labels import label_contract
from training.learning.checks import check_compatible
from training.learning.dataset import open_dataset
from training.learning.tap_datasets import check_fits_tap, open_for_tap, tap_model_contract
from training.learning.windows import frame_pairs
from vla_ros.core.contract import tap_contract
from vla_ros.core.errors import ContractError, DatasetError
from vla_ros.policy.normalize import Normalizer

TAP = tap_contract("front", 32)


@pytest.fixture
def dataset(dataset_path):
    return open_dataset(dataset_path, 32)


def with_vector(dataset, name, change):
    """Return the dataset with a column changed in place by `change`."""
    values = dataset.vectors[name].copy()
    change(values)
    return replace(dataset, vectors={**dataset.vectors, name: values})


def test_a_converted_dataset_fits_and_so_does_its_own_scale(dataset):
    check_compatible(dataset, TAP, Normalizer.fit(dataset.actions))
    assert tap_model_contract(dataset) == TAP


def test_a_model_may_see_fewer_cameras_but_not_others(dataset):
    two = replace(dataset, contract=tap_contract(("wrist", "front"), 32))
    check_compatible(two, TAP)
    with pytest.raises(ContractError, match="sees camera wrist, and .* was opened with front"):
        check_compatible(dataset, tap_contract(("front", "wrist"), 32))


def test_refuses_another_rate_and_names_it(dataset):
    with pytest.raises(ContractError, match="rate_hz: 10.0 here, 5.0 there"):
        check_compatible(dataset, tap_contract("front", 32, 10.0))


def test_refuses_a_label_that_tap_does_not_learn(dataset):
    joint = replace(dataset.contract, name="joint", action_space="joint")
    other = replace(dataset, contract=joint)
    with pytest.raises(ContractError, match="action_space: ee_delta here, joint there"):
        check_compatible(other, tap_model_contract(other))


def test_stage_1_takes_any_label_and_stage_2_one_displacement(dataset):
    commanded = replace(dataset, label="commanded")
    check_fits_tap(commanded, TAP, 1, "reached")
    check_fits_tap(commanded, TAP, 2)
    check_fits_tap(commanded, TAP, 2, "commanded")
    with pytest.raises(DatasetError, match=r"--label commanded, .* again with --label reached"):
        check_fits_tap(commanded, TAP, 2, "reached")
    with pytest.raises(DatasetError, match=r"--label reached, .* again with --label commanded"):
        check_fits_tap(dataset, TAP, 2, "commanded")


def test_stage_1_learns_measured_motion_of_a_dataset_of_joints(dataset):
    columns = {"action": dataset.vectors["action.joint"], "action.reached": dataset.actions}
    joints = replace(
        dataset,
        contract=label_contract("joint", image_size=32),
        vectors={**dataset.vectors, **columns},
        label="joint",
    )
    stats = dataset.path / "meta/stats.json"
    known = json.loads(stats.read_text())
    stats.write_text(json.dumps({**known, "action": known["action.joint"]}))
    check_fits_tap(joints, TAP, 1)
    own, other = (frame_pairs(d, d.episodes).actions for d in (dataset, joints))
    np.testing.assert_array_equal(own, other)
    with pytest.raises(DatasetError, match="--label joint, which is another motion"):
        check_fits_tap(joints, TAP, 2)
    with pytest.raises(ContractError, match="rate_hz"):
        check_fits_tap(joints, tap_contract("front", 32, 10.0), 1)


@pytest.mark.parametrize(("value", "got"), [(np.nan, "nan"), (250.0, "250.0"), (-np.inf, "-inf")])
def test_refuses_values_that_are_not_finite_or_out_of_bounds(dataset, value, got):
    def change(values):
        values[7, 2] = value

    with pytest.raises(DatasetError, match=f"in dimension 2, got {got} at frame 7"):
        check_compatible(with_vector(dataset, "action", change), TAP)
    with pytest.raises(DatasetError, match=f"observation.state of .* got {got} at frame 7"):
        check_compatible(with_vector(dataset, "observation.state", change), TAP)


def test_refuses_motion_that_never_changes_but_not_a_resting_gripper(dataset):
    def still(axis):
        def change(values):
            values[:, axis] = 0.01

        return change

    with pytest.raises(DatasetError, match="the same in all 48 frames in dimension 4"):
        check_compatible(with_vector(dataset, "action", still(4)), TAP)
    # The gripper gets as far as the stored statistics, which are of other values here.
    with pytest.raises(DatasetError, match="stats.json says"):
        check_compatible(with_vector(dataset, "action", still(6)), TAP)


@pytest.mark.parametrize("key", ["q01", "mean", "max"])
def test_refuses_stored_statistics_of_other_values(dataset, key):
    path = dataset.path / "meta/stats.json"
    stats = json.loads(path.read_text())
    stats["action"][key][1] += 0.001
    path.write_text(json.dumps(stats))
    with pytest.raises(DatasetError, match=f"stats.json says {key} of action is"):
        check_compatible(dataset, TAP)


@pytest.mark.parametrize("content", ["{", "{}", '{"action": {"min": null}}', "[]"])
def test_refuses_statistics_that_cannot_be_read(dataset, content):
    (dataset.path / "meta/stats.json").write_text(content)
    with pytest.raises(DatasetError, match=r"stats.json is missing or damaged"):
        check_compatible(dataset, TAP)


@pytest.mark.parametrize("change", [lambda v: 1000 * v, lambda v: v / 1000, lambda v: v + 5])
def test_refuses_a_scale_of_other_units_and_takes_a_slower_one(dataset, change):
    own = Normalizer.fit(dataset.actions)
    check_compatible(dataset, TAP, Normalizer(own.low / 3, own.high / 3))
    wrong = Normalizer(change(own.low), change(own.high))
    with pytest.raises(DatasetError, match=r"spans \[.*\] in dimension 0, and the model's scale"):
        check_compatible(dataset, TAP, wrong)


def test_refuses_a_dataset_given_twice(dataset_path):
    with pytest.raises(DatasetError, match="is given twice"):
        open_for_tap([dataset_path, dataset_path], 32, stage=1)
