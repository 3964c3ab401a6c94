import json

import pytest

from vla_ros.core.errors import CheckpointError
from vla_ros.policy.apt.config import AptConfig, Layer, groot_style, paper_apt, pi_style, small_apt


def test_stage_2_inserts_layers_before_their_partners():
    one, two = AptConfig(1, num_layers=4), AptConfig(2, num_layers=4)
    assert one.layers == (Layer(1, False, False), Layer(3, False, False))
    assert two.layers == (
        Layer(0, True, True),
        Layer(1, False, False),
        Layer(2, True, True),
        Layer(3, False, False),
    )


def test_token_insertion_lifts_the_mask_of_the_same_layers():
    stages = [AptConfig(s, num_layers=4, language="token_insertion").layers for s in (1, 2)]
    assert stages[0] == AptConfig(1, num_layers=4).layers
    assert stages[1] == (Layer(1, False, True), Layer(3, False, True))


@pytest.mark.parametrize("style", [pi_style, groot_style])
def test_other_styles_keep_all_layers_and_lift_the_mask(style):
    one, two = style(AptConfig(1)), style(AptConfig(2))
    assert [layer.slot for layer in one.layers] == list(range(one.num_layers))
    assert not any(layer.sees_language for layer in one.layers)
    assert all(layer.sees_language for layer in two.layers)


def test_features_are_evenly_spaced_or_by_stride():
    every_third = (0, 3, 6, 9, 12, 15, 18, 21, 24, 27)
    assert AptConfig().vlm_layers(28) == every_third
    assert AptConfig(feature_stride=3).vlm_layers(30) == every_third
    assert paper_apt(1).vlm_layers(28)[:4] == (0, 1, 3, 4)
    assert AptConfig(num_layers=4).vlm_layers(2) == (0, 0, 1, 1)
    with pytest.raises(CheckpointError, match="layer 27 of 20"):
        AptConfig(feature_stride=3).vlm_layers(20)


def test_features_may_be_told_slot_by_slot():
    told = AptConfig(num_layers=4, features=[0, 1, 2, 2])
    assert told.vlm_layers(3) == (0, 1, 2, 2)
    assert AptConfig.from_dict(told.to_dict()) == told
    with pytest.raises(CheckpointError, match="layer 2 of 2; choose layers from 0 to 1"):
        told.vlm_layers(2)
    assert groot_style(told).vlm_layers(2) == groot_style(AptConfig()).vlm_layers(2)


@pytest.mark.parametrize(
    ("switches", "match"),
    [
        ({"stage": 0}, "stage must be 1 or 2"),
        ({"num_layers": 5}, "num_layers must be even"),
        ({"features": (0, 1)}, "a layer of each of 10 slots"),
        ({"num_layers": 2, "features": (-1, 0)}, "a layer of each of 2 slots"),
        ({"horizon": 0}, "sizes must be positive, got horizon"),
        ({"width": 72, "num_heads": 3}, "multiple of 16"),
        ({"sample_steps": 30}, "30 sample_steps must divide 100"),
        ({"open_above": 1.0}, r"open_above must be inside \(-1, 1\), got 1.0"),
        ({"style": "groot"}, "groot has no inserted layers"),
        ({"style": "dit"}, "style must be one of apt, pi, groot, got 'dit'"),
        ({"fusion": "tanh"}, "fusion must be one of code, paper"),
    ],
)
def test_what_cannot_be_built_is_refused(switches, match):
    with pytest.raises(CheckpointError, match=match):
        AptConfig(**switches)


def test_config_survives_json_and_other_keys_are_refused():
    config = small_apt(2)
    document = json.loads(json.dumps(config.to_dict()))
    assert AptConfig.from_dict(document) == config
    with pytest.raises(CheckpointError, match=r"expected keys \(dropout\)"):
        AptConfig.from_dict({**document, "dropout": 0.1})
    # A checkpoint of before acts as the authors' code, which was the only way then.
    del document["open_above"]
    assert AptConfig.from_dict(document).open_above == 0.8
