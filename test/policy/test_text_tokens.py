import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_ros.core.errors import CheckpointError
from vla_ros.policy.text_tokens import (
    ANSWER,
    END,
    MAX_CHARACTERS,
    NUM_SPECIAL,
    PADDING,
    TextTokenizer,
    train_tokenizer,
)

SENTENCES = ["put the carrot on the plate", "put the lemon on the plate", "push the plate left"] * 4


@pytest.fixture(scope="module")
def trained():
    return TextTokenizer(train_tokenizer(SENTENCES, size=400))


def test_training_is_repeatable_and_shortens_what_was_seen(trained):
    assert train_tokenizer(SENTENCES, 400) == train_tokenizer(SENTENCES, 400)
    assert trained.encode("put the plate", 50) == trained.encode(" PUT the plate", 50)[-3:]
    assert len(trained.encode("put the plate", 50)) == 3  # each word was seen often: one token
    assert len(TextTokenizer().encode("put the plate", 50)) == 14  # bytes, and the blank in front


def test_few_sentences_do_not_fill_the_vocabulary(trained):
    assert TextTokenizer().size == NUM_SPECIAL + 256
    assert NUM_SPECIAL + 256 < trained.size < 400


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=30))
def test_any_text_has_tokens_of_the_vocabulary_and_comes_back(trained, text):
    tokens = trained.encode(text, 1000)
    assert all(NUM_SPECIAL <= token < trained.size for token in tokens)
    # Reading is a projection: what comes back is read the same way.
    assert trained.decode(trained.encode(trained.decode(tokens), 1000)) == trained.decode(tokens)


def test_text_in_the_normal_form_comes_back_as_it_was(trained):
    for text in ("put the carrot on the plate", "größe, 猫 & 🥕!", "two  blanks"):
        assert trained.decode(trained.encode(text, 1000)) == text


def test_no_text_spells_a_token_of_ours(trained):
    assert not {PADDING, END, ANSWER} & set(trained.encode("<pad> <end> </s> <answer> \x00", 1000))
    assert trained.encode("", 10) == []


def test_broken_unicode_is_read_as_a_question_mark(trained):
    assert trained.decode(trained.encode("a\ud800b", 10)) == "a?b"


def test_long_text_is_cut(trained):
    assert len(trained.encode("a" * 10_000, 16)) == 16
    cut = trained.encode("x" * MAX_CHARACTERS + "yyy", 10_000)
    assert trained.decode(cut) == "x" * MAX_CHARACTERS


def test_prompts_are_padded_on_the_left_and_answers_on_the_right(trained):
    put, the, plate = trained.encode("put the plate", 10)
    assert trained.prompts(["put", "put the plate"], 10).tolist() == [
        [PADDING, PADDING, put],
        [put, the, plate],
    ]
    assert trained.answers(["put", "put the"], 10).tolist() == [
        [put, END, PADDING],
        [put, the, END],
    ]
    assert trained.answers(["put the plate"], 2).tolist() == [[put, the]]
    assert trained.prompts(["", ""], 10).shape == (2, 0)


def test_actions_are_no_text(trained):
    put = trained.encode("put", 10)
    assert trained.decode([*put, trained.size + 3, END]) == "put"


@pytest.mark.parametrize("source", ["no json", "{}", '{"model": {"type": "other"}}'])
def test_refuses_what_is_no_tokenizer(source):
    with pytest.raises(CheckpointError, match="text tokenizer is not the JSON of a BPE"):
        TextTokenizer(source)
