"""A tiktoken rank file with its pattern and special tokens from tokenizer_config.json."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import tiktoken

from runtime.errors import TokenizerError
from runtime.tokenizer import Tokenizer, cut, read_json

# No pattern of the GPT family matches a letter or digit together with white space after it.
WORD_BOUNDARY = re.compile(r"(?<=[^\W_])(?=[ \n])")
# tiktoken's regex engine panics on a run of some 500,000 white-space characters.
WHITE_RUN = re.compile(r"(?<!\s)\s{1000,}")
WHITE_CHARS = 1 << 16

UTF8_BYTES = (*range(0xC0), *range(0xC2, 0xF5))
"""The bytes that text can hold; a vocabulary may leave out the others."""


class TiktokenTokenizer(Tokenizer):
    """Byte-level BPE by ranks; runs of more than 65,536 white-space characters are cut there."""

    FILE = "tokenizer.tiktoken"

    def __init__(self, ranks: dict[bytes, int], pattern: str, special: Mapping[str, int]) -> None:
        taken = set(ranks.values())
        for name, number in special.items():
            if number in taken:
                raise TokenizerError(f"special token {name!r} has id {number}, which has a rank")
        try:
            self._encoding = tiktoken.Encoding(
                name="ranks", pat_str=pattern, mergeable_ranks=ranks, special_tokens=dict(special)
            )
        except (ValueError, KeyError) as error:
            raise TokenizerError(f"tiktoken refuses the ranks or the pattern: {error}") from error
        self._of = {number: token for token, number in ranks.items()}
        self._in_pieces = "(?<" not in pattern  # a look-behind would see across a cut
        self.vocab_size = 1 + max([*taken, *special.values()])
        super().__init__(special)

    @classmethod
    def read(cls, directory: Path) -> TiktokenTokenizer:
        """Reads tokenizer.tiktoken and the keys `tiktoken_*` of tokenizer_config.json."""
        config = read_json(directory / "tokenizer_config.json")
        pattern = config.get("tiktoken_pattern")
        special = config.get("tiktoken_special_tokens")
        if not isinstance(pattern, str):
            raise TokenizerError(f"{directory}/tokenizer_config.json lacks 'tiktoken_pattern'")
        if not isinstance(special, dict) or not all(type(i) is int for i in special.values()):
            raise TokenizerError(
                f"{directory}/tokenizer_config.json lacks 'tiktoken_special_tokens' (name to id)"
            )
        return cls(read_ranks(directory / cls.FILE), pattern, special)

    def _cut(self, text: str) -> Iterable[str]:
        end = 0
        for run in WHITE_RUN.finditer(text):
            for stop in range(run.start() + WHITE_CHARS, run.end(), WHITE_CHARS):
                yield from self._cut_words(text[end:stop])
                end = stop
        yield from self._cut_words(text[end:])

    def _cut_words(self, text: str) -> Iterable[str]:
        return cut(text, WORD_BOUNDARY) if self._in_pieces else [text]

    def _encode_batch(self, pieces: list[str]) -> list[list[int]]:
        return [self._encoding.encode_ordinary(piece) for piece in pieces]

    def _token_bytes(self, token_id: int) -> bytes:
        return self._of.get(token_id, b"")


def read_ranks(path: Path) -> dict[bytes, int]:
    """Bytes of each token and its rank; TokenizerError names the first line that is broken."""
    ranks: dict[bytes, int] = {}
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise TokenizerError(f"{path} can't be read: {error}") from error
    for number, line in enumerate(lines, 1):
        try:
            token, rank = line.split()
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except (ValueError, binascii.Error) as error:
            raise TokenizerError(
                f"{path}:{number} is not a token and its rank", hint="download the model again"
            ) from error
    missing = [byte for byte in UTF8_BYTES if bytes([byte]) not in ranks]
    if missing:
        raise TokenizerError(f"{path} has no token for the byte 0x{missing[0]:02X}")
    if len(set(ranks.values())) != len(ranks):
        raise TokenizerError(f"{path} gives two tokens the same rank")
    return ranks
