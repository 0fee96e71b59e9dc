"""Text to ids and back, exact and safe: a document's text never becomes a control token."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from runtime.errors import TokenizerError
from runtime.stream import StreamDecoder

# Characters encoded between two calls of on_progress: some 50 ms, so that Ctrl-C is prompt.
BATCH_CHARS = 1 << 18
PIECE_CHARS = 1 << 14

Progress = Callable[[int, int], None]  # (characters done, characters in all)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty if there is no such file; TokenizerError if it is broken."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise TokenizerError(
            f"{path} can't be read: {error}", hint="download the model again"
        ) from error
    if not isinstance(data, dict):
        raise TokenizerError(f"{path} holds no JSON object", hint="download the model again")
    return data


def whole_unicode(text: str) -> str:
    """The text with lone surrogates (undecodable bytes of file names) replaced by U+FFFD."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


class Tokenizer(ABC):
    """A vocabulary with its rules; `Tokenizer.load` picks the implementation by what is on disk.

    `special_ids` holds every control and added token by name. Encoding adds none by itself, no BOS
    either, and recognizes them in text only under `allow_special`. Control tokens decode to
    nothing; tokenizer.json's added tokens meant to be read (`<think>`) decode to their name.
    """

    vocab_size: int
    special_ids: Mapping[str, int]

    def __init__(self, special_ids: Mapping[str, int], *, strip_first: bool = False) -> None:
        self.special_ids = dict(special_ids)
        self._strip_first = strip_first
        self._bytes: dict[int, bytes] = {}
        names = sorted(self.special_ids, key=len, reverse=True)
        self._special = re.compile("(" + ("|".join(map(re.escape, names)) or r"(?!)") + ")")
        spellings = self._encode_batch(names) if names else []
        self._spelled = [
            name
            for name, ids in zip(names, spellings, strict=True)
            if not set(self.special_ids.values()).isdisjoint(ids)
        ]

    @classmethod
    def load(cls, directory: Path) -> Tokenizer:
        """The tokenizer of a model's directory; TokenizerError names what is missing or broken."""
        from runtime.tokenizer_json import HuggingFaceTokenizer
        from runtime.tokenizer_ranks import TiktokenTokenizer

        if (directory / TiktokenTokenizer.FILE).is_file():
            return TiktokenTokenizer.read(directory)
        if (directory / HuggingFaceTokenizer.FILE).is_file():
            return HuggingFaceTokenizer.read(directory)
        hint = "download the model again"
        if (directory / "tokenizer.model").is_file():
            hint = "tokenizer.model alone isn't enough: take tokenizer.json from the same model"
        raise TokenizerError(
            f"{directory} has neither {HuggingFaceTokenizer.FILE} nor {TiktokenTokenizer.FILE}",
            hint=hint,
        )

    def encode(
        self, text: str, *, allow_special: bool = False, on_progress: Progress | None = None
    ) -> list[int]:
        """The ids of a text; with `allow_special`, names of special tokens in it become them."""
        if not allow_special:
            return self.encode_many([text], on_progress)[0]
        ids: list[int] = []
        for piece in self.split_special(text):
            special = self.special_ids.get(piece)
            ids += self.encode(piece) if special is None else [special]
        return ids

    def split_special(self, text: str) -> list[str]:
        """The text cut into names of special tokens and what lies between them."""
        return [piece for piece in self._special.split(text) if piece]

    def encode_many(
        self, texts: Iterable[str], on_progress: Progress | None = None
    ) -> list[list[int]]:
        """The ids of each text, none special; an exception from `on_progress` ends the work."""
        texts = [whole_unicode(text) for text in texts]
        result: list[list[int]] = [[] for _ in texts]
        total = sum(map(len, texts))
        done = waiting = 0
        batch: list[tuple[int, str]] = []
        for number, text in enumerate(texts):
            for piece in self._pieces(text):
                batch.append((number, piece))
                waiting += len(piece)
                if waiting >= BATCH_CHARS:
                    self._encode_into(result, batch)
                    done += waiting
                    waiting = 0
                    if on_progress is not None:
                        on_progress(done, total)
        self._encode_into(result, batch)
        if on_progress is not None and (waiting or not total):
            on_progress(total, total)
        return result

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; bytes that are no UTF-8 become U+FFFD, unknown ids nothing."""
        text = b"".join(map(self._bytes_of, ids)).decode("utf-8", "replace")
        return text.removeprefix(" ") if self._strip_first else text

    def token_bytes(self, ids: Sequence[int]) -> list[bytes]:
        """What each id adds to the text, in order; empty for control tokens and unknown ids."""
        return [self._bytes_of(token_id) for token_id in ids]

    def stream(self, stop: Sequence[str] = ()) -> StreamDecoder:
        """A decoder for ids that arrive one by one, ending before any of the stop strings."""
        return StreamDecoder(self._bytes_of, stop, strip_first=self._strip_first)

    def _bytes_of(self, token_id: int) -> bytes:
        held = self._bytes.get(token_id)
        if held is None:
            held = self._bytes[token_id] = self._token_bytes(token_id)
        return held

    def _encode_into(self, result: list[list[int]], batch: list[tuple[int, str]]) -> None:
        for (number, _), ids in zip(
            batch, self._encode_batch([piece for _, piece in batch]), strict=True
        ):
            result[number] += ids
        batch.clear()

    def _pieces(self, text: str) -> Iterable[str]:
        """The text in pieces whose ids, joined, are the ids of the text."""
        end = 0
        # A vocabulary that can spell a special token's name is denied it by a cut within the name.
        for name in re.finditer("|".join(map(re.escape, self._spelled)) or r"(?!)", text):
            yield from self._cut(text[end : name.start() + 1])
            end = name.start() + 1
        yield from self._cut(text[end:])

    @abstractmethod
    def _cut(self, text: str) -> Iterable[str]:
        """The text in pieces of about PIECE_CHARS at places where no token can reach across."""

    @abstractmethod
    def _encode_batch(self, pieces: list[str]) -> list[list[int]]:
        """The ids of each piece, no name in them recognized as special."""

    @abstractmethod
    def _token_bytes(self, token_id: int) -> bytes:
        """What one token adds to the text, empty for control tokens and unknown ids."""


def cut(text: str, boundary: re.Pattern[str]) -> Iterable[str]:
    """The text in pieces of PIECE_CHARS or a little more, each ending where `boundary` matches."""
    start = 0
    while len(text) - start > PIECE_CHARS:
        found = boundary.search(text, start + PIECE_CHARS)
        if found is None:
            break
        yield text[start : found.start()]
        start = found.start()
    if start < len(text):
        yield text[start:]
