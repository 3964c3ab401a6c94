"""What counts as an instruction, and how several become one."""

from collections.abc import Sequence

from vla_ros.core.errors import VlaError

# Networks read some dozens of words, and leave out what is beyond without a word.
MAX_CHARACTERS = 1000
_SHOWN = 40


class TaskError(VlaError):
    """An instruction cannot be given to a policy."""


def checked_task(task: object) -> str:
    """Return an instruction without blanks around it, otherwise as it was said.

    Whatever script it is in: a network may know it. What looks like YAML is a text like any other.

    Raises:
        TaskError: it is no text, empty, too long, or has characters that no line of text has.
    """
    if not isinstance(task, str):
        raise TaskError(
            f"a task must be text, got {task!r} ({type(task).__name__}): put it in quotes"
        )
    text = task.strip()
    if not text:
        raise TaskError("the task is empty: say what to do, such as 'put the carrot on the plate'")
    if len(text) > MAX_CHARACTERS:
        raise TaskError(
            f"a task has up to {MAX_CHARACTERS} characters, got {len(text)} "
            f"({text[:_SHOWN]!r}...): say it in fewer words, or as several tasks"
        )
    for place, character in enumerate(text):
        if not character.isprintable():
            raise TaskError(
                f"a task is one line of printable text, got U+{ord(character):04X} after "
                f"{text[max(0, place - _SHOWN) : place]!r}: leave it out"
            )
    return text


def chained(tasks: Sequence[str]) -> str:
    """Return several instructions as one sentence: APT's chained prompts.

    The other way, one after the other, is to give the second once the first is done.

    Raises:
        TaskError: there is none, one is no instruction, or the sentence is too long.
    """
    words = [checked_task(task).rstrip(" .,;") for task in tasks]
    return checked_task(", then ".join(words))
