"""Words to integers without a vocabulary file: hashed character n-grams.

A word is the sum of the embeddings of itself and of its 3- and 4-letter pieces, each hashed to a
row of one table (Bojanowski et al. 2017, "Enriching word vectors with subword information").
Any text has tokens, an instruction is a handful of them, and a typo keeps most of a word's pieces.
"""

import re
import unicodedata
import zlib

import numpy as np

MAX_WORDS = 24
MAX_PIECES = 20
PADDING = 0
_WORD = re.compile(r"\w+|[^\w\s]")


def words_of(text: str) -> list[str]:
    """Return the lower-cased words and punctuation marks of `text`, at most MAX_WORDS."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).lower())[:MAX_WORDS]


def pieces_of(word: str) -> list[str]:
    """Return the word in boundary marks, then its 3- and 4-letter pieces, at most MAX_PIECES."""
    marked = f"<{word}>"
    grams = [marked[i : i + n] for n in (3, 4) for i in range(len(marked) - n + 1)]
    return [marked, *(gram for gram in grams if gram != marked)][:MAX_PIECES]


def tokenize(texts: list[str], num_buckets: int) -> tuple[np.ndarray, np.ndarray]:
    """Return piece ids (B, W, MAX_PIECES) int64 and the word mask (B, W) bool.

    W is the longest text's number of words, at least 1. Ids lie in [1, num_buckets);
    PADDING fills up. CRC-32 keeps ids equal on every machine and Python.
    """
    split = [words_of(text) for text in texts]
    num_words = max(1, *(len(words) for words in split))
    ids = np.full((len(texts), num_words, MAX_PIECES), PADDING, dtype=np.int64)
    mask = np.zeros((len(texts), num_words), dtype=bool)
    for row, words in enumerate(split):
        for column, word in enumerate(words):
            hashed = [1 + zlib.crc32(p.encode()) % (num_buckets - 1) for p in pieces_of(word)]
            ids[row, column, : len(hashed)] = hashed
            mask[row, column] = True
    return ids, mask
