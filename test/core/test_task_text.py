"""An instruction is one line of text, whatever else it looks like."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vla_ros.core.task_text import MAX_CHARACTERS, TaskError, chained, checked_task


@pytest.mark.parametrize(
    "task",
    [
        "put the carrot on the plate",
        "lege die Möhre auf den Teller",
        "把胡萝卜放在盘子里",
        "put the 🥕 on the plate",
        "yes",
        "1.5",
        "{task: [carrot, *plate]} # &a !!str | > %s $(x) \\n",
        "x" * MAX_CHARACTERS,
    ],
)
def test_what_somebody_may_mean_is_taken_as_it_was_said(task):
    assert checked_task(task) == task
    assert checked_task(f"\n  {task}\t") == task


@pytest.mark.parametrize(
    ("task", "sentence"),
    [
        ("", "the task is empty: say what to do"),
        (" \t\n ", "the task is empty"),
        ("go " * 5000, r"up to 1000 characters, got 14999 \('go go .*'\.\.\.\)"),
        ("go\x00", r"got U\+0000 after 'go'"),
        ("stop.\nthen go", r"got U\+000A after 'stop\.'"),
        ("\x1b[2Jgo", r"got U\+001B after ''"),
        ("right \u202eto left", r"got U\+202E after 'right '"),
        ("half a \ud83e", r"got U\+D83E"),
        (True, r"must be text, got True \(bool\): put it in quotes"),
        (12, r"got 12 \(int\)"),
        (["a", "b"], r"\(list\)"),
        (None, r"\(NoneType\)"),
    ],
)
def test_what_is_no_instruction_is_refused_with_what_is_wrong(task, sentence):
    with pytest.raises(TaskError, match=sentence):
        checked_task(task)


@given(st.text(max_size=40))
def test_every_line_of_text_is_taken_and_all_else_is_refused_in_one_sentence(text):
    said = text.strip()
    if said and said.isprintable():
        assert checked_task(text) == said
    else:
        with pytest.raises(TaskError) as caught:
            checked_task(text)
        assert len(str(caught.value).splitlines()) == 1


def test_prompts_are_chained_into_one_sentence():
    tasks = ("put the carrot on the plate.", " push the apple to the left")
    assert chained(tasks) == "put the carrot on the plate, then push the apple to the left"
    assert chained(("go",)) == "go"


@pytest.mark.parametrize(
    ("tasks", "sentence"),
    [((), "is empty"), (("go", ""), "is empty"), (("go " * 120,) * 3, "up to 1000 characters")],
)
def test_what_makes_no_sentence_is_refused(tasks, sentence):
    with pytest.raises(TaskError, match=sentence):
        chained(tasks)
