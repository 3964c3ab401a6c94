"""Text to tokens and back for the small model: byte-level BPE, in one JSON text.

Sennrich et al. 2016, "Neural machine translation of rare words with subword units", on bytes, as
GPT-2 has it: whatever merges were learned, every text has tokens, since each byte is one.
The vocabulary starts with three tokens of our own, which no text can spell:

PADDING  fills up batches      END  ends an answer      ANSWER  follows a prompt, an answer begins
"""

from collections.abc import Iterable, Sequence

import torch
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from torch import Tensor

from vla_ros.core.errors import CheckpointError

PADDING, END, ANSWER = 0, 1, 2
NUM_SPECIAL = 3
# What is beyond is cut before it is read: no instruction is so long, and a merge of a word takes
# time beyond its length.
MAX_CHARACTERS = 2000


class TextTokenizer:
    """Texts to vocabulary indices [NUM_SPECIAL, size) and back.

    Texts are read lower-cased, in Unicode's form NFKC, with a blank in front of the first word;
    what is not valid Unicode becomes "?". Nothing is refused; "" has no token.
    """

    def __init__(self, source: str = ""):
        """Take what `train_tokenizer` returned; "" has the 256 bytes alone.

        Raises:
            CheckpointError: `source` is something else.
        """
        try:
            self._bpe = Tokenizer.from_str(source or _bytes_alone().to_str())
        except Exception as error:  # the library raises this class itself
            raise CheckpointError(
                f"text tokenizer is not the JSON of a BPE ({str(error)[:80]}); take the one of the "
                "checkpoint or train it again"
            ) from None
        self.size = NUM_SPECIAL + self._bpe.get_vocab_size()

    def encode(self, text: str, limit: int) -> list[int]:
        """Return the first `limit` tokens of the first MAX_CHARACTERS characters."""
        valid = text[:MAX_CHARACTERS].encode("utf-8", "replace").decode()
        ids = self._bpe.encode(valid, add_special_tokens=False).ids[:limit]
        return [NUM_SPECIAL + index for index in ids]

    def decode(self, tokens: Iterable[int]) -> str:
        """Return the text of the tokens; others than text are left out, broken bytes are marked."""
        ids = [int(t) - NUM_SPECIAL for t in tokens if NUM_SPECIAL <= int(t) < self.size]
        return self._bpe.decode(ids).removeprefix(" ")

    def prompts(self, texts: Sequence[str], limit: int) -> Tensor:
        """Return (B, W) int64, padded on the *left*; W is the longest text's number of tokens."""
        rows = [self.encode(text, limit) for text in texts]
        longest = max(map(len, rows), default=0)
        return torch.tensor([[PADDING] * (longest - len(row)) + row for row in rows]).long()

    def answers(self, texts: Sequence[str], limit: int) -> Tensor:
        """Return (B, S) int64, S <= limit: each text, END where it fits, padding on the *right*.

        These are suffixes: their loss leaves PADDING out (`ignore_index`).
        """
        rows = [(self.encode(text, limit) + [END])[:limit] for text in texts]
        longest = max(map(len, rows), default=0)
        return torch.tensor([row + [PADDING] * (longest - len(row)) for row in rows]).long()


def train_tokenizer(sentences: Iterable[str], size: int = 2048) -> str:
    """Return the JSON of a BPE learned on the sentences, with a vocabulary up to `size`.

    The size counts the 256 bytes and our own tokens; pieces seen once are not merged, so few
    sentences give fewer. The same sentences in the same order give the same result.
    """
    bpe = _bytes_alone()
    trainer = BpeTrainer(
        vocab_size=size - NUM_SPECIAL,
        min_frequency=2,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    bpe.train_from_iterator(sentences, trainer)
    return bpe.to_str()


def _bytes_alone() -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bpe = Tokenizer(BPE({letter: index for index, letter in enumerate(alphabet)}, []))
    bpe.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    bpe.decoder = decoders.ByteLevel()
    return bpe
