import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_ros.core.contract import Contract, Field, apt_contract, tap_contract
from vla_ros.core.errors import ContractError

OPENING = Field("opening", (2,), "float32", "1", (0.0, -1.0), (1.0, 1.0))


def test_legal_value_is_returned():
    value = np.array([0.5, -1.0], np.float32)
    assert OPENING.validate(value) is value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros(3, np.float32), r"opening must be float32 of shape \(2,\), got float32 of shape"),
        (np.zeros(2, np.float64), "got float64 of shape"),
        (np.array([np.nan, 0], np.float32), "opening must be finite"),
        (np.array([-0.5, 0], np.float32), r"opening must lie in .* 1, got \[-0.5"),
        (np.array([0, 1.5], np.float32), "opening must lie in"),
    ],
)
def test_illegal_value_is_refused(value, message):
    with pytest.raises(ContractError, match=message):
        OPENING.validate(value)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_generated_values_are_legal(seed):
    rng = np.random.default_rng(seed)
    contract = tap_contract(image_size=8)
    for field in (contract.image, contract.state, contract.action):
        assert field.validate(field.generate(rng)).shape == field.shape


def test_generated_images_use_both_ends_of_the_range():
    image = tap_contract(image_size=64).image.generate(np.random.default_rng(0))
    assert (image.min(), image.max()) == (0, 255)


def test_same_generator_state_gives_the_same_value():
    field = tap_contract().action
    first, second = (field.generate(np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_apt_contract_is_a_chunk_of_camera_frame_poses():
    contract = apt_contract(("front", "side"), horizon=4)
    assert (contract.name, contract.cameras) == ("apt", ("front", "side"))
    assert contract.needs_extrinsics
    assert not tap_contract().needs_extrinsics
    still = np.tile(np.array([0, 0, 0, 1, 0, 0, 0, 1, 0, -1], np.float32), (4, 1))
    contract.action.validate(still)
    too_far = still + np.eye(10, dtype=np.float32)[0] * 1.4
    with pytest.raises(ContractError, match="action must lie in"):
        contract.action.validate(too_far)
    assert Contract.from_dict(json.loads(json.dumps(contract.to_dict()))) == contract


def test_tap_contract_is_seven_numbers_at_five_hertz():
    contract = tap_contract("side", image_size=96)
    assert (contract.name, contract.camera, contract.rate_hz) == ("tap", "side", 5.0)
    assert contract.image.shape == (96, 96, 3)
    assert contract.state.shape == contract.action.shape == (7,)


def test_contract_survives_json():
    contract = tap_contract()
    again = Contract.from_dict(json.loads(json.dumps(contract.to_dict())))
    assert again == contract
    contract.require_match(again, "the checkpoint")


def test_mismatch_names_every_difference_and_the_place():
    ours, theirs = tap_contract(image_size=128), tap_contract("side", image_size=96)
    with pytest.raises(ContractError, match=r"contract of demo/ckpt does not match") as caught:
        ours.require_match(theirs, "demo/ckpt")
    message = str(caught.value)
    assert "cameras: ('front',) here, ('side',) there" in message
    assert "(128, 128, 3)" in message
    assert "(96, 96, 3)" in message
    assert "rate_hz" not in message


@pytest.mark.parametrize("change", [{"extra": 1}, {"image": {"name": "x"}}])
def test_unknown_or_missing_keys_are_refused(change):
    with pytest.raises(ContractError, match="does not have the expected keys"):
        Contract.from_dict({**tap_contract().to_dict(), **change})


def test_missing_field_is_refused():
    data = tap_contract().to_dict()
    del data["action"]
    with pytest.raises(ContractError, match="does not have the expected keys"):
        Contract.from_dict(data)


def test_no_arm_and_an_unknown_action_space_are_refused_with_the_known_ones():
    with pytest.raises(ContractError, match=r"robot_model must be a name: .*\(wx250s\)"):
        replace(tap_contract(), robot_model="")
    with pytest.raises(ContractError, match=r"action_space 'torque' is unknown; known: ee_delta"):
        replace(tap_contract(), action_space="torque")


def test_cameras_are_different_names_and_the_first_is_the_main_one():
    contract = tap_contract(("front", "wrist"))
    assert (contract.camera, contract.cameras) == ("front", ("front", "wrist"))
    for cameras in ((), ("front", "front")):
        with pytest.raises(ContractError, match="one or more different names"):
            tap_contract(cameras)
