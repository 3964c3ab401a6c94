import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tokenizers import ByteLevelBPETokenizer
from tokenizers.trainers import BpeTrainer

from vla_ros.core.errors import CheckpointError, ContractError, DatasetError
from vla_ros.policy.fast_grammar import Grammar
from vla_ros.policy.fast_tokens import FastTokenizer, dct_matrix
from vla_ros.policy.fast_universal import load_universal


def chunks(horizon: int, count: int = 200, size: int = 7) -> np.ndarray:
    """Return smooth chunks in [-1, 1] whose last number is a gripper of 0 or 1."""
    rng = np.random.default_rng(0)
    time = np.linspace(0, 1, horizon)[:, None]
    made = np.sin(3 * rng.normal(size=(count, 1, size)) * time + rng.normal(size=(count, 1, size)))
    made[..., -1] = rng.integers(0, 2, (count, 1))
    return made


STEP = FastTokenizer.fit(chunks(1), vocabulary=80)
CHUNK = FastTokenizer.fit(chunks(8), vocabulary=300)


def published_folder(path, actions: np.ndarray, vocabulary: int = 300):
    """Write a folder as the published code does: a byte-level BPE, offset by the smallest."""
    coefficients = np.around(10 * (dct_matrix(actions.shape[1]) @ actions)).astype(int)
    least, most = int(coefficients.min()), int(coefficients.max())
    bpe = ByteLevelBPETokenizer()
    trainer = BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        show_progress=False,
        initial_alphabet=[chr(i) for i in range(most - least + 1)],
    )
    texts = ["".join(map(chr, (c - least).ravel().tolist())) for c in coefficients]
    bpe._tokenizer.train_from_iterator(texts, trainer)
    path.mkdir(exist_ok=True)
    (path / "tokenizer.json").write_text(bpe._tokenizer.to_str())
    config = {"scale": 10, "min_token": least, "vocab_size": vocabulary, "time_horizon": None}
    (path / "processor_config.json").write_text(json.dumps({**config, "action_dim": None}))
    return path, bpe, texts, least


def test_one_step_is_rounded_to_tenths_by_hand():
    action = np.array([[[0.52, -1.0, 1.0, 0.0, 0.04, -0.06, 1.0]]])
    tokens = STEP.encode(action)[0]
    assert STEP.min_coefficient == -10
    # The alphabet comes first, in order: a token below 21 is the coefficient + 10.
    spelled = [code for t in tokens for code in STEP.vocabulary[t]]
    assert [ord(letter) - 10 for letter in spelled] == [5, -10, 10, 0, 0, -1, 10]
    assert STEP.decode(tokens)[0] == pytest.approx([0.5, -1, 1, 0, 0, -0.1, 1])


def test_dct_of_two_steps_by_hand_and_low_frequency_comes_first():
    # A constant 1 has all in frequency 0, sqrt(2); a step from 1 to -1 all in frequency 1.
    tokenizer = FastTokenizer.fit(chunks(2, size=2), vocabulary=100)
    tokens = tokenizer.encode(np.array([[[1.0, 1.0], [1.0, -1.0]]]))[0]
    letters = "".join(tokenizer.vocabulary[t] for t in tokens)
    assert [ord(c) + tokenizer.min_coefficient for c in letters] == [14, 0, 0, 14]


def test_frequent_chunks_become_one_token_and_the_fit_is_deterministic():
    still = np.zeros((50, 1, 7))
    assert len(FastTokenizer.fit(still, 60).encode(still[:1])[0]) == 1
    again = FastTokenizer.fit(chunks(8), vocabulary=300)
    assert again.to_json() == CHUNK.to_json()
    lengths = [len(tokens) for tokens in CHUNK.encode(chunks(8))]
    assert np.mean(lengths) < 0.7 * 8 * 7


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([STEP, CHUNK]), st.data())
def test_round_trip_is_within_the_rounding(tokenizer, data):
    shape = (2, tokenizer.horizon, 7)
    actions = data.draw(arrays(np.float32, shape, elements=st.floats(-1, 1, width=32)))
    bound = 0.5 / tokenizer.scale * math.sqrt(tokenizer.horizon) + 1e-6
    for tokens, action in zip(tokenizer.encode(actions), actions, strict=True):
        assert np.all(np.abs(tokenizer.decode(tokens) - action) <= bound)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-2, 90), max_size=9))
def test_any_tokens_are_a_chunk_or_refused(tokens):
    counts = [len(STEP.vocabulary[t]) if 0 <= t < STEP.size else math.nan for t in tokens]
    if sum(counts) == 7:
        assert STEP.decode(tokens).shape == (1, 7)
    else:
        with pytest.raises(ContractError, match="are a chunk of 1 x 7"):
            STEP.decode(tokens)


def test_survives_json():
    loaded = FastTokenizer.from_json(CHUNK.to_json())
    actions = chunks(8)[:5]
    assert loaded.encode(actions) == CHUNK.encode(actions)
    assert loaded.to_json() == CHUNK.to_json()


@pytest.mark.parametrize(
    "change",
    [
        {"scale": float("nan")},
        {"scale": -1},
        {"horizon": 0},
        {"horizon": 10**9},
        {"min_coefficient": 3},
        {"min_coefficient": "a"},
        {"form": "pickle"},
        {"vocabulary": ["a", "a"]},
        {"vocabulary": []},
        {"vocabulary": 3},
        {"merges": [["x", "y"]]},
        {"merges": [["x"]]},
        {"vocabulary": [chr(i) for i in range(20)], "merges": []},
        {"other": 1},
    ],
)
def test_refuses_damaged_json(change):
    with pytest.raises(CheckpointError, match="action tokenizer"):
        FastTokenizer.from_json(json.dumps({**json.loads(STEP.to_json()), **change}))


@pytest.mark.parametrize("text", ["", "[]", "3", "{}", "\x80\x04."])
def test_refuses_what_is_no_json_of_one(text):
    with pytest.raises(CheckpointError, match="action tokenizer is not the JSON of one"):
        FastTokenizer.from_json(text)


@pytest.mark.parametrize("horizon", [1, 8])
def test_reads_the_published_form_as_its_own_library_does(tmp_path, horizon):
    actions = chunks(horizon)
    folder, bpe, texts, least = published_folder(tmp_path / "fast", actions)
    tokenizer = load_universal(folder, horizon)
    assert tokenizer.min_coefficient == least
    encoded = tokenizer.encode(actions)
    assert encoded == [bpe.encode(text).ids for text in texts]
    bound = 0.05 * math.sqrt(horizon) + 1e-6
    for tokens, action in zip(encoded, actions, strict=True):
        assert np.all(np.abs(tokenizer.decode(tokens) - action) <= bound)
    assert FastTokenizer.from_json(tokenizer.to_json()).encode(actions[:3]) == encoded[:3]


def test_writes_the_nearest_coefficient_where_a_foreign_tokenizer_lacks_one(tmp_path):
    # Fitted on actions from -0.3 to 0.4: there is nothing beyond.
    actions = np.tile(np.arange(-3, 5)[:, None, None] / 10, (2, 1, 7))
    tokenizer = load_universal(published_folder(tmp_path / "fast", actions)[0])
    tokens = tokenizer.encode(np.array([[[-1.0, -0.3, 0.2, 0.4, 0.5, 1.0, 0.0]]]))[0]
    assert tokenizer.decode(tokens)[0] == pytest.approx([-0.3, -0.3, 0.2, 0.4, 0.4, 0.4, 0.0])


def test_published_form_of_two_byte_characters_may_split_one(tmp_path):
    # The universal offset: the characters of one step lie from U+0158 to U+016C, two bytes each.
    folder, _, _, _ = published_folder(tmp_path / "fast", np.tile(chunks(1), (1, 1, 1)))
    config = json.loads((folder / "processor_config.json").read_text())
    (folder / "processor_config.json").write_text(json.dumps({**config, "min_token": -354}))
    tokenizer_json = json.loads((folder / "tokenizer.json").read_text())
    letters = ByteLevelBPETokenizer()._tokenizer.pre_tokenizer.alphabet()
    model = tokenizer_json["model"]
    model["vocab"] = {letter: i for i, letter in enumerate(sorted(letters))}
    model["merges"] = []
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer_json))
    tokenizer = load_universal(folder)
    tokens = tokenizer.encode(np.zeros((1, 1, 7)))[0]
    assert len(tokens) == 14
    with pytest.raises(ContractError, match="hold no whole coefficients"):
        tokenizer.decode(tokens[:-1])
    # After the first half of a character only second halves may follow, 64 of the 256 bytes.
    left, is_open = np.array([7]), np.array([False])
    first = tokenizer.grammar.allowed(left, is_open)[0]
    assert first.sum() == 128 + 30
    left, is_open = tokenizer.grammar.follow(left, is_open, np.array(tokens[:1]))
    assert (left.item(), is_open.item()) == (7, True)
    assert tokenizer.grammar.allowed(left, is_open)[0].sum() == 64
    # The first half of an eighth character has no room, and no token is nothing.
    assert not tokenizer.grammar.allowed(np.array([0]), np.array([False])).any()
    assert Grammar([b"", b"a"]).allowed(np.array([7]), np.array([False])).tolist() == [
        [False, True]
    ]


def test_refuses_another_horizon_than_the_folder_names(tmp_path):
    folder = published_folder(tmp_path / "fast", chunks(1))[0]
    config = json.loads((folder / "processor_config.json").read_text())
    (folder / "processor_config.json").write_text(json.dumps({**config, "time_horizon": 8}))
    with pytest.raises(CheckpointError, match="time_horizon is 8, wanted is 1"):
        load_universal(folder)


@pytest.mark.parametrize("name", ["tokenizer.json", "processor_config.json"])
@pytest.mark.parametrize("text", [None, "", "{}", "[]", '{"model": {"type": "Unigram"}}'])
def test_refuses_a_folder_of_another_form(tmp_path, name, text):
    folder = published_folder(tmp_path / "fast", chunks(1, 20))[0]
    (folder / name).unlink()
    if text is not None:
        (folder / name).write_text(text)
    with pytest.raises(CheckpointError, match="no FAST tokenizer of the published form"):
        load_universal(folder)


def test_grammar_lets_through_what_still_fits():
    # A token may not complete more than is left; nothing may follow a whole chunk.
    lengths = np.array([len(text) for text in STEP.vocabulary])
    is_open = np.zeros(3, bool)
    allowed = STEP.grammar.allowed(np.array([7, 1, 0]), is_open)
    assert np.array_equal(allowed, lengths <= np.array([[7], [1], [0]]))
    assert allowed[0].all()
    assert 0 < allowed[1].sum() < STEP.size


@pytest.mark.parametrize(
    ("actions", "fault"),
    [
        (np.full((1, 1, 7), 1.1), "normalise them first"),
        (np.full((1, 1, 7), np.nan), "normalise them first"),
        (np.zeros((1, 2, 7)), r"with \(H, A\) \(1, 7\)"),
        (np.zeros((1, 7)), r"must be \(B, H, A\)"),
    ],
)
def test_refuses_actions_that_are_no_normalised_chunks(actions, fault):
    with pytest.raises(ContractError, match=fault):
        STEP.encode(actions)


def test_refuses_to_fit_on_nothing_and_into_too_few_tokens():
    with pytest.raises(DatasetError, match="no action to fit"):
        FastTokenizer.fit(np.zeros((0, 1, 7)))
    with pytest.raises(ContractError, match="have 21 coefficients, which do not fit into 20"):
        FastTokenizer.fit(chunks(1), vocabulary=20)
