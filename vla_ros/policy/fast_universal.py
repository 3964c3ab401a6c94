"""Reads FAST tokenizers of the published form: the universal one, or one that its code fitted.

Only data is read: the folder's own Python file, which the authors' loader runs, is not.
"""

import json
from pathlib import Path

from vla_ros.core.errors import CheckpointError
from vla_ros.policy.fast_tokens import FastTokenizer, pair


def load_universal(folder: str | Path, horizon: int = 1, action_size: int = 7) -> FastTokenizer:
    """Return the tokenizer in `folder`, for chunks of `horizon` steps of `action_size` numbers.

    The folder is that of `physical-intelligence/fast` on its model hub (Apache-2.0) or like it.
    processor_config.json has scale (universal: 10), min_token (-354) and time_horizon (none, or the
    only one that fits); tokenizer.json has a byte-level BPE (2048 tokens). TAP's code takes it with
    horizon 1 and 7 numbers.

    Raises:
        CheckpointError: a file is missing, damaged or of another form.
    """
    folder = Path(folder)
    try:
        config, tokenizer = (
            json.loads((folder / name).read_text(encoding="utf-8"))
            for name in ("processor_config.json", "tokenizer.json")
        )
        for name, value in (("time_horizon", horizon), ("action_dim", action_size)):
            if config.get(name) not in (None, value):
                raise ValueError(f"{name} is {config[name]}, wanted is {value}")
        model, splitter = tokenizer["model"], tokenizer["pre_tokenizer"]
        is_known = model["type"] == "BPE" and splitter["type"] == "ByteLevel"
        if not is_known or splitter["add_prefix_space"] or tokenizer.get("normalizer"):
            raise ValueError("no plain byte-level BPE")
        vocabulary = sorted(model["vocab"], key=model["vocab"].__getitem__)
        if [model["vocab"][text] for text in vocabulary] != list(range(len(vocabulary))):
            raise ValueError("token numbers with gaps")
        merges = [pair(merge) for merge in model["merges"]]
        scale, min_coefficient = float(config["scale"]), int(config["min_token"])
    except (OSError, AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{folder} holds no FAST tokenizer of the published form "
            f"({type(error).__name__}: {str(error)[:80]}); give a folder with its "
            "processor_config.json and tokenizer.json"
        ) from None
    return FastTokenizer(
        vocabulary,
        merges,
        "bytes_of_words" if splitter.get("use_regex", True) else "bytes",
        scale=scale,
        min_coefficient=min_coefficient,
        horizon=horizon,
        action_size=action_size,
    )
