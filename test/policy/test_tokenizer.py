import numpy as np

from vla_ros.policy.tokenizer import MAX_WORDS, PADDING, pieces_of, tokenize, words_of


def test_words_are_lower_case_and_punctuation_stands_alone():
    assert words_of("Put the CARROT, on: plate") == [
        "put", "the", "carrot", ",", "on", ":", "plate",
    ]  # fmt: skip


def test_pieces_are_the_marked_word_and_its_three_and_four_letter_parts():
    assert pieces_of("cup") == ["<cup>", "<cu", "cup", "up>", "<cup", "cup>"]


def test_ids_are_the_same_on_every_machine():
    # CRC-32 of "<a>" is 0x6fb782ab = 1874297515; 1 + that mod 99 = 14.
    ids, mask = tokenize(["a"], 100)
    assert ids[0, 0].tolist()[:2] == [14, PADDING]
    assert mask.tolist() == [[True]]


def test_shorter_texts_are_padded_and_masked():
    ids, mask = tokenize(["push left", "push"], 100)
    assert mask.tolist() == [[True, True], [True, False]]
    assert (ids[1, 1] == PADDING).all()
    assert (ids[0, 0] == ids[1, 0]).all()


def test_any_text_has_tokens_and_empty_text_has_none():
    for text in ("🥕 auf den Teller", "#'\"\\: yes", "положи морковь"):
        ids, mask = tokenize([text], 100)
        assert mask.all()
        assert ids.min() >= 0
        assert ids.max() < 100
    assert not tokenize([""], 100)[1].any()


def test_long_texts_are_cut():
    assert tokenize(["word " * 1000], 100)[0].shape[1] == MAX_WORDS


def test_different_words_share_no_full_row():
    ids, _ = tokenize(["carrot pumpkin"], 4096)
    assert not np.array_equal(ids[0, 0], ids[0, 1])
