"""Which action token may follow: tokens are bytes, and a chunk is so many characters in UTF-8.

A token of whole coefficients is the simple case; the published tokens may end within a character.
"""

from collections.abc import Sequence

import numpy as np

# A character is one byte or two: codes of coefficients stay below.
MAX_CODE = 0x7FF


class Grammar:
    """What each token adds to a text that ends between two characters (0) or within one (1).

    Attributes:
        pieces: bytes of each token.
        counts: (2, size) int64, by that state: characters that the token completes, -1 where it may
            not follow.
        is_open: (2, size) bool, whether the text then ends within a character.
    """

    def __init__(self, pieces: Sequence[bytes]):
        self.pieces = list(pieces)
        walks = [[_walk(piece, state) for piece in self.pieces] for state in (False, True)]
        self.counts = np.array([[count for count, _ in row] for row in walks], np.int64)
        self.is_open = np.array([[is_open for _, is_open in row] for row in walks], bool)

    def allowed(self, left: np.ndarray, is_open: np.ndarray) -> np.ndarray:
        """Return which tokens may follow (B, size) bool: legal, and completing no more than `left`.

        Args:
            left: (B,) int, characters still to complete.
            is_open: (B,) bool, whether the text ends within one.
        """
        state = is_open.astype(int)
        counts = self.counts[state]
        return (counts >= 0) & (counts + self.is_open[state] <= left[:, None])

    def follow(
        self, left: np.ndarray, is_open: np.ndarray, tokens: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return `left` and `is_open` (B,) after tokens (B,) that were allowed."""
        state = is_open.astype(int)
        return left - self.counts[state, tokens], self.is_open[state, tokens]

    def codes(self, tokens: Sequence[int]) -> np.ndarray | None:
        """Return the characters' codes (n,) int64; None where the tokens end or break within one.

        None too for a token that there is not.
        """
        if not all(0 <= token < len(self.pieces) for token in tokens):
            return None
        try:
            text = b"".join(self.pieces[token] for token in tokens).decode()
        except UnicodeDecodeError:
            return None
        return np.array([ord(letter) for letter in text], np.int64)


def bytes_of(text: str) -> bytes:
    """Return what a token of GPT-2's byte-level BPE stands for: a byte a letter.

    A token with another letter stands for itself, as in the `tokenizers` library: the published
    tokenizer has such ones, from an alphabet of characters that no text is split into.
    """
    if all(letter in _BYTES for letter in text):
        return bytes(_BYTES[letter] for letter in text)
    return text.encode()


def _letters() -> str:
    """Return the 256 letters: printable Latin-1 as it is, the other bytes from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(0x100, 0x200))
    return "".join(chr(byte if byte in printable else next(others)) for byte in range(256))


_BYTES = {letter: byte for byte, letter in enumerate(_letters())}


def _walk(piece: bytes, is_open: bool) -> tuple[int, bool]:
    """Return how many characters `piece` completes, -1 where illegal, and whether one stays open.

    An empty piece is illegal: it would go on for ever.
    """
    count = 0 if piece else -1
    for byte in piece:
        if is_open != (0x80 <= byte < 0xC0):
            return -1, False
        if is_open or byte < 0x80:
            count, is_open = count + 1, False
        elif 0xC2 <= byte < 0xE0:
            is_open = True
        else:
            return -1, False
    return count, is_open
