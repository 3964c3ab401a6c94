"""What a backbone answers to questions on pictures that it has not learned from."""

import re
from collections import defaultdict

import numpy as np
import torch

from training.learning.caption_data import Captions
from vla_ros.policy.small_vlm import SmallVlm
from vla_ros.policy.text_tokens import END, PADDING

# Numbers in an answer of these kinds, and what one of them is in the unit of the error.
IN_PICTURE = ("where_picture", "gripper_picture")
ON_TABLE = ("where_place", "gripper_place", "offset", "where_height", "gripper_height", "depth")
_MM_PER_CM = 10.0
_NUMBER = re.compile(r"-?\d+")
_BATCH = 64
_MAX_ANSWER = 24


@torch.inference_mode()
def evaluate_answers(model: SmallVlm, data: Captions, max_frames: int, bf16: bool) -> dict:
    """Return accuracy and error by kind of question and by what is held out of it.

    "seen" questions have wordings and pairs as in training, on pictures that are not. Keys of each:
    count; token_accuracy (teacher forcing); exact (of the decoded answer); of places also error_px
    (of a picture as the model sees it) or error_cm, the mean over answers that are numbers, and
    unreadable, the share of those that are not.
    """
    chosen = data.held_out[:max_frames]
    asked = [(index, question) for index in chosen for question in data.questions(index)]
    found: dict[str, dict[str, list[tuple]]] = defaultdict(lambda: defaultdict(list))
    for first in range(0, len(asked), _BATCH):
        part = asked[first : first + _BATCH]
        for (_, question), result in zip(part, _answers(model, data, part, bf16), strict=True):
            found[question["held_out"] or "seen"][question["kind"]].append((question, *result))
    size = model.image_size
    return {
        split: {kind: _summary(kind, rows, size) for kind, rows in sorted(kinds.items())}
        for split, kinds in sorted(found.items())
    }


def _answers(
    model: SmallVlm, data: Captions, asked: list[tuple[int, dict]], bf16: bool
) -> list[tuple[int, int, str]]:
    """Return (right tokens, tokens, decoded answer) of each question."""
    images = data.pictures(np.array([index for index, _ in asked]))
    prompts = [question["prompt"] for _, question in asked]
    limit = model.config.max_suffix
    truth = model.tokenizer.answers([question["answer"] for _, question in asked], limit)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        encoded = model.encode(images)
        forced = model.read(encoded, prompts, truth).logits[:, :-1].argmax(2)
        prompt = model.read(encoded, prompts, with_cache=True)
        token, cache = prompt.logits[:, -1].argmax(1), prompt.cache
        said = [token]
        for _ in range(min(_MAX_ANSWER, limit) - 1):
            if all(bool((torch.stack(said, 1) == END).any(1)[k]) for k in range(len(asked))):
                break
            logits, cache = model.decode(said[-1][:, None], cache)
            said.append(logits.argmax(1))
    valid = truth != PADDING
    right = ((forced == truth) & valid).sum(1).tolist()
    texts = []
    for row in torch.stack(said, 1).tolist():
        texts.append(model.tokenizer.decode(row[: row.index(END)] if END in row else row))
    return list(zip(right, valid.sum(1).tolist(), texts, strict=True))


def _summary(kind: str, rows: list[tuple], image_size: int) -> dict:
    right, tokens = (sum(row[k] for row in rows) for k in (1, 2))
    exact = np.mean([row[3] == row[0]["answer"] for row in rows])
    summary = {
        "count": len(rows),
        "token_accuracy": right / tokens,
        "exact": float(exact),
    }
    if kind not in (*IN_PICTURE, *ON_TABLE):
        return summary
    errors, unreadable = [], 0
    for question, *_, said in rows:
        true, told = (np.array(_NUMBER.findall(text), float) for text in (question["answer"], said))
        if not len(true):  # not in sight
            continue
        if len(true) != len(told):
            unreadable += 1
            continue
        unit = image_size / 100 if kind in IN_PICTURE else 1 / _MM_PER_CM
        errors.append(float(np.linalg.norm(true - told)) * unit)
    name = "error_px" if kind in IN_PICTURE else "error_cm"
    total = len(errors) + unreadable
    summary[name] = float(np.mean(errors)) if errors else None
    summary["unreadable"] = unreadable / total if total else None
    return summary
