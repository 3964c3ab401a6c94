"""FAST action tokens: chunks of actions to a few tokens and back.

Pertsch et al. 2025, "FAST: Efficient Action Tokenization for Vision-Language-Action Models", arXiv
2501.09747, section V: an orthonormal DCT over time of normalised actions, times `scale`, rounded
(halves to even); the lowest frequency of all dimensions first, then the next; each integer a
character, and byte-pair encoding (BPE) over these. TAP's code has one step of 7 numbers, for which
the DCT changes nothing, with the published universal tokenizer (scale 10, 2048 tokens).

Where we differ from the published code:
- `fit` has an alphabet of every coefficient that actions in [-1, 1] can have, so none is clamped
  later; the published fit starts at the smallest one of its data.
- `fit` merges whole coefficients. The published one merges bytes of UTF-8, within "words" of
  GPT-2's regular expression; `fast_universal` does the same for its tokens.
- `decode` refuses tokens that are no chunk; the published one prints a line and returns zeros.
  It also passes the text through a clean-up of blanks before punctuation, which may drop
  coefficients; ours does not.

Legend: B batch, H steps of a chunk, A numbers of an action.
"""

import json
import math
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

from vla_ros.core.errors import CheckpointError, ContractError, DatasetError
from vla_ros.policy.fast_grammar import MAX_CODE, Grammar, bytes_of

# Paper: 10, and 1024 tokens for one data set; the universal tokenizer has 10 and 2048.
SCALE = 10.0
VOCABULARY = 1024
# How a tokenizer's tokens are made: of whole characters; of bytes; of bytes within words.
Form = Literal["characters", "bytes", "bytes_of_words"]
FORMS = ("characters", "bytes", "bytes_of_words")
KEYS = {"scale", "min_coefficient", "horizon", "action_size", "form", "vocabulary", "merges"}


class FastTokenizer:
    """Normalised action chunks (H, A) to tokens [0, size) and back.

    Attributes:
        scale: steps a unit; an action of one step is off by at most 0.5 / scale.
        min_coefficient: the integer whose character is 0 ("min_token" in the published files).
        horizon, action_size: H and A.
        size: number of tokens.
        grammar: which token may follow.
    """

    def __init__(
        self,
        vocabulary: Sequence[str],
        merges: Iterable[tuple[str, str]],
        form: Form,
        *,
        scale: float,
        min_coefficient: int,
        horizon: int,
        action_size: int,
    ):
        """Take the token texts by index and the merges in the order in which they apply.

        Raises:
            CheckpointError: they make no tokenizer.
        """
        self.vocabulary, self.form = list(vocabulary), form
        self.merges = [(left, right) for left, right in merges]
        self.scale, self.min_coefficient = scale, min_coefficient
        self.horizon, self.action_size = horizon, action_size
        fault = self._fault()
        if fault:
            raise CheckpointError(f"action tokenizer cannot be used: {fault}; fit it again")
        self._dct = dct_matrix(horizon)
        try:
            indices = {text: index for index, text in enumerate(self.vocabulary)}
            self._bpe = Tokenizer(BPE(indices, self.merges))
        except Exception as error:  # the library raises this class itself
            raise CheckpointError(
                f"action tokenizer cannot be used: {str(error)[:80]}; fit it again"
            ) from None
        if form == "characters":
            pieces = [text.encode() for text in self.vocabulary]
        else:
            self._bpe.pre_tokenizer = pre_tokenizers.ByteLevel(
                add_prefix_space=False, use_regex=form == "bytes_of_words"
            )
            pieces = [bytes_of(text) for text in self.vocabulary]
        self.grammar = Grammar(pieces)
        self._codes = self._writable()

    def _fault(self) -> str:
        if self.form not in FORMS:
            return f"its form is {self.form!r}, known are {', '.join(FORMS)}"
        if self.horizon < 1 or self.action_size < 1:
            return f"its chunks are of {self.horizon} x {self.action_size} numbers"
        if not (math.isfinite(self.scale) and self.scale > 0):
            return f"its scale is {self.scale}"
        if self.min_coefficient > 0:
            return f"its smallest coefficient is {self.min_coefficient}"
        if largest_coefficient(self.scale, self.horizon) - self.min_coefficient > MAX_CODE:
            return f"scale {self.scale} and {self.horizon} steps give too large coefficients"
        if len(set(self.vocabulary)) < max(1, len(self.vocabulary)):
            return "its vocabulary is empty or names a token twice"
        return ""

    def _writable(self) -> np.ndarray:
        """Return the code to write for each code of a coefficient from -largest to largest.

        Raises:
            CheckpointError: a tokenizer of our own has no token for one of them.
        """
        largest = largest_coefficient(self.scale, self.horizon)
        wanted = np.arange(-largest, largest + 1) - self.min_coefficient
        can = [c for c in wanted[wanted >= 0].tolist() if self._read(chr(c)) == [c]]
        if not can or (self.form == "characters" and len(can) < len(wanted)):
            raise CheckpointError(
                f"action tokenizer has tokens for {len(can)} of the {len(wanted)} coefficients "
                f"that actions in [-1, 1] have at scale {self.scale:g}; fit it again"
            )
        return np.array(can)[np.abs(wanted[:, None] - np.array(can)).argmin(1)]

    def _read(self, text: str) -> list[int] | None:
        codes = self.grammar.codes(self._bpe.encode(text).ids)
        return None if codes is None else codes.tolist()

    @property
    def size(self) -> int:
        """Number of tokens."""
        return len(self.vocabulary)

    @classmethod
    def fit(
        cls, actions: np.ndarray, vocabulary: int = VOCABULARY, scale: float = SCALE
    ) -> "FastTokenizer":
        """Return the tokenizer learned on normalised chunks (N, H, A) in [-1, 1].

        The same chunks in the same order give the same tokenizer. Pieces seen once are not merged,
        so few chunks give fewer tokens than `vocabulary`.

        Raises:
            DatasetError: no chunk.
            ContractError: chunks of another shape or range, or a vocabulary that is too small for
                the coefficients at this scale.
        """
        actions = np.asarray(actions)
        if len(actions) == 0:
            raise DatasetError("no action to fit action tokens on; give data of the wanted kind")
        chunks = _checked(actions, actions.shape[1:])
        largest = largest_coefficient(scale, chunks.shape[1])
        alphabet = [chr(code) for code in range(2 * largest + 1)]
        if len(alphabet) > min(vocabulary, MAX_CODE):
            raise ContractError(
                f"chunks of {chunks.shape[1]} steps at scale {scale:g} have {len(alphabet)} "
                f"coefficients, which do not fit into {vocabulary} action tokens; "
                "lower the scale or raise the vocabulary"
            )
        bpe = Tokenizer(BPE({letter: index for index, letter in enumerate(alphabet)}, []))
        trainer = BpeTrainer(
            vocab_size=vocabulary,
            min_frequency=2,
            show_progress=False,
            initial_alphabet=alphabet,
        )
        coefficients = quantise(chunks, scale)
        bpe.train_from_iterator(map(_text, coefficients + largest), trainer, len(chunks))
        model = json.loads(bpe.to_str())["model"]
        return cls(
            sorted(model["vocab"], key=model["vocab"].__getitem__),
            model["merges"],
            "characters",
            scale=float(scale),
            min_coefficient=-largest,
            horizon=chunks.shape[1],
            action_size=chunks.shape[2],
        )

    def encode(self, actions: np.ndarray) -> list[list[int]]:
        """Return the tokens of each of the normalised chunks (B, H, A).

        A coefficient that a tokenizer of another's data cannot write becomes the nearest that it
        can. (The published code does so below `min_coefficient` and loses others, which then
        decode to zeros.) A tokenizer of `fit` writes all.

        Raises:
            ContractError: another shape, or numbers outside [-1, 1].
        """
        chunks = _checked(actions, (self.horizon, self.action_size))
        codes = self._codes[quantise(chunks, self.scale) + len(self._codes) // 2]
        encoded = self._bpe.encode_batch([_text(chunk) for chunk in codes])
        return [one.ids for one in encoded]

    def decode(self, tokens: Sequence[int]) -> np.ndarray:
        """Return the chunk (H, A) float32 of one chunk's tokens; nothing is clipped.

        Raises:
            ContractError: the tokens are not those of one whole chunk.
        """
        expected = self.horizon * self.action_size
        codes = self.grammar.codes(tokens)
        if codes is None or len(codes) != expected:
            found = "no whole" if codes is None else str(len(codes))
            raise ContractError(
                f"action tokens hold {found} coefficients where {expected} are a chunk of "
                f"{self.horizon} x {self.action_size}; train the policy longer, or decode "
                "with counted tokens"
            )
        coefficients = (codes + self.min_coefficient).reshape(self.horizon, self.action_size)
        return (self._dct.T @ (coefficients / self.scale)).astype(np.float32)

    def to_json(self) -> str:
        """Return all of it as one JSON text."""
        return json.dumps(
            {
                "scale": self.scale,
                "min_coefficient": self.min_coefficient,
                "horizon": self.horizon,
                "action_size": self.action_size,
                "form": self.form,
                "vocabulary": self.vocabulary,
                "merges": self.merges,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> "FastTokenizer":
        """Return the tokenizer of `to_json`'s result; raises CheckpointError for anything else."""
        try:
            data = json.loads(text)
            if set(data) != KEYS:
                raise ValueError("other keys")
            numbers = {name: int(data[name]) for name in ("horizon", "action_size")}
            numbers["min_coefficient"] = int(data["min_coefficient"])
            vocabulary, merges = texts(data["vocabulary"]), list(map(pair, data["merges"]))
            return cls(vocabulary, merges, data["form"], scale=float(data["scale"]), **numbers)
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise CheckpointError(
                f"action tokenizer is not the JSON of one ({str(error)[:80]}); "
                "take the one of the checkpoint or train again"
            ) from None


def dct_matrix(size: int) -> np.ndarray:
    """Return C (size, size) float64 of the orthonormal DCT-II: C @ x transforms, C.T @ y inverts.

    C[k, n] = s_k cos(pi (2 n + 1) k / (2 N)) with s_0 = sqrt(1 / N) and s_k = sqrt(2 / N).
    """
    k, n = np.arange(size)[:, None], np.arange(size)[None]
    matrix = math.sqrt(2 / size) * np.cos(np.pi * (2 * n + 1) * k / (2 * size))
    matrix[0] /= math.sqrt(2)
    return matrix


def quantise(chunks: np.ndarray, scale: float) -> np.ndarray:
    """Return the rounded coefficients (B, H, A) int64 of chunks (B, H, A): frequency, dimension."""
    matrix = dct_matrix(chunks.shape[1])
    return np.around(scale * (matrix @ chunks)).astype(np.int64)


def largest_coefficient(scale: float, horizon: int) -> int:
    """Return what no rounded coefficient of `horizon` numbers in [-1, 1] exceeds."""
    return math.ceil(scale * math.sqrt(horizon))  # rows of C have length 1, chunks at most sqrt(H)


def texts(values: object) -> list[str]:
    """Return a JSON list of texts; raises ValueError for anything else."""
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError("a list of texts is something else")
    return values


def pair(value: object) -> tuple[str, str]:
    """Return a merge: two texts, or in older files one with a blank between; else ValueError."""
    left, right = texts(value.split(" ") if isinstance(value, str) else value)
    return left, right


def _checked(actions: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    chunks = np.asarray(actions, dtype=np.float64)
    if chunks.ndim != 3 or chunks.shape[1:] != shape or 0 in shape:
        raise ContractError(
            f"action chunks must be (B, H, A) with (H, A) {shape}, got {chunks.shape}; "
            "take the windows that the tokenizer was fitted for"
        )
    if not np.all(np.abs(chunks) <= 1):
        raise ContractError(
            "action chunks must be finite and in [-1, 1] to become tokens; normalise them first"
        )
    return chunks


def _text(codes: np.ndarray) -> str:
    return "".join(map(chr, codes.ravel().tolist()))
