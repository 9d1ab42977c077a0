"""Text -> rows of the token table: CLIP's byte-pair encoding and the pruned table of the small model.

The encoding is that of OpenAI's CLIP (github.com/openai/CLIP, clip/simple_tokenizer.py), whose list of merges is read from
bpe_simple_vocab_16e6.txt.gz. Broken text is not repaired here (OpenAI's uses ftfy): prompts of the recipe are clean.
"""
import gzip
import html
import unicodedata

import numpy as np
import torch

START, END = 49406, 49407  # CLIP's ids of <|startoftext|> and <|endoftext|>
MERGES = START - 512  # 256 bytes, the same 256 at the end of a word, then one id for each merge
CONTRACTIONS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")
CONTEXT = 77


def printable_bytes():
    """The 256 bytes in the order of their ids, each with a printable character that stands for it in the merge list."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [b for b in range(256) if b not in shown]
    return {b: chr(b) for b in shown} | {b: chr(256 + k) for k, b in enumerate(hidden)}


def kind(c):
    """Characters of one kind stay together; digits stay alone."""
    return "space" if c.isspace() else {"L": "letter", "N": "digit"}.get(unicodedata.category(c)[0], "other")


def words(text):
    """Contractions, runs of letters, single digits, runs of other visible characters."""
    at = 0
    while at < len(text):
        found = next((c for c in CONTRACTIONS if text.startswith(c, at)), None)
        end = at + len(found or "x")
        if not found and kind(text[at]) != "digit":
            while end < len(text) and kind(text[end]) == kind(text[at]):
                end += 1
        if kind(text[at]) != "space":
            yield text[at:end]
        at = end


class Tokenizer:
    def __init__(self, path):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            lines = file.read().split("\n")[1:MERGES + 1]  # the first line is a version
        merges = [tuple(line.split()) for line in lines]
        self.byte = printable_bytes()
        letters = list(self.byte.values())
        vocabulary = letters + [c + "</w>" for c in letters] + ["".join(m) for m in merges]
        self.id = {piece: i for i, piece in enumerate(vocabulary)}
        self.rank = {merge: i for i, merge in enumerate(merges)}
        self.known = {}

    def encode(self, text):
        """Text to CLIP's ids, without the two markers."""
        text = " ".join(html.unescape(html.unescape(text)).split()).lower()
        return [i for word in words(text) for i in self._encode_word(word)]

    def _encode_word(self, word):
        if word not in self.known:
            pieces = [self.byte[b] for b in word.encode("utf-8")]
            pieces[-1] += "</w>"
            self.known[word] = [self.id[p] for p in self._merge(pieces)]
        return self.known[word]

    def _merge(self, pieces):
        """Joins the pair of lowest rank, everywhere, until no pair is in the list."""
        while len(pieces) > 1:
            pair = min(zip(pieces, pieces[1:]), key=lambda p: self.rank.get(p, len(self.rank)))
            if pair not in self.rank:
                break
            joined = []
            for piece in pieces:
                # after a join, joined[-1] is longer than pair[0], so a piece is used once
                if joined and (joined[-1], piece) == pair:
                    joined[-1] += piece
                else:
                    joined.append(piece)
            pieces = joined
        return pieces


class TokenTable:
    """Which of CLIP's ids have a row of their own in the pruned token table.

    `ids[row]` is the id of a row: -1 for row 0, which all other ids share ("a word I do not know"), then ascending; the
    last two are the start and end markers.
    """

    def __init__(self, ids):
        ids = list(ids)
        if ids[0] != -1 or ids[-2:] != [START, END] or ids != sorted(set(ids)):
            raise ValueError("token table: expected -1, then ascending ids that end with the start and end markers")
        self.ids = ids
        self.row = {i: row for row, i in enumerate(ids)}

    def __len__(self):
        return len(self.ids)

    def body(self, ids):
        """Rows of CLIP's ids, without markers."""
        return [self.row.get(i, 0) for i in ids]

    def mark(self, body):
        """Start marker, at most 75 rows, end marker."""
        return [len(self) - 2, *body[:CONTEXT - 2], len(self) - 1]

    def batch(self, sequences, length=None):
        """int64 [n, length], padded with the end marker: the tower is causal and read at the first end marker."""
        length = length or max(map(len, sequences))
        out = np.full((len(sequences), length), len(self) - 1, np.int64)
        for row, sequence in zip(out, sequences):
            row[:len(sequence)] = sequence
        return torch.from_numpy(out)

    def as_json(self):
        """What token_ids.json beside a model says."""
        return {"rows": len(self), "unknown_row": 0, "start_row": len(self) - 2, "end_row": len(self) - 1, "ids": self.ids}
