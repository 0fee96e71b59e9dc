"""tokenizer.json through the `tokenizers` library, its added tokens kept out of documents."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import Regex, pre_tokenizers

from runtime.errors import TokenizerError
from runtime.tokenizer import Tokenizer, cut, read_json

CONTROL_NAME = re.compile(r"<\|[^|<>\s]+\|>")
BYTE_NAME = re.compile(r"<0x([0-9A-F]{2})>")
WORD = "▁"  # what SentencePiece writes for a space

# AI21's rules: a token never holds a newline, nor a space after something else. Splitting there
# first gives the same ids, faster, and lets a long text be encoded in pieces.
WORDS = rf"\n|{WORD}*[^{WORD}\n]+|{WORD}+"
WORD_BOUNDARY = re.compile(rf"(?<=\n)|(?<=[^ {WORD}\n])(?=[ {WORD}\n])")


@dataclass(frozen=True)
class Spelling:
    """How the entries of a vocabulary become bytes of text."""

    replace: Mapping[str, str] = field(default_factory=dict)
    byte_fallback: bool = False  # <0x0A> is one byte
    byte_level: bool = False  # each character stands for a byte, as GPT-2 writes them
    strip_first: bool = False  # one space at the very beginning belongs to nobody

    @classmethod
    def of(cls, decoder: Any) -> Spelling:
        """Reads a tokenizer.json's `decoder`; TokenizerError names a kind that isn't supported."""
        parts = [] if decoder is None else [json.loads(decoder.__getstate__())]
        if parts and parts[0]["type"] == "Sequence":
            parts = parts[0]["decoders"]
        replace: dict[str, str] = {}
        kinds = set()
        strip_first = False
        for part in parts:
            kind = part["type"]
            kinds.add(kind)
            if kind == "Replace" and "String" in part["pattern"]:
                replace[part["pattern"]["String"]] = part["content"]
            elif kind == "Metaspace":
                replace[part["replacement"]] = " "
                strip_first = part.get("prepend_scheme", "always") != "never"
            elif kind == "Strip" and (part["content"], part["start"], part["stop"]) == (" ", 1, 0):
                strip_first = True
            elif kind not in {"ByteFallback", "Fuse", "ByteLevel"}:
                raise TokenizerError(f"tokenizer.json: decoder {part} is not supported")
        if not kinds:
            raise TokenizerError("tokenizer.json has no decoder: ids can't become text again")
        return cls(replace, "ByteFallback" in kinds, "ByteLevel" in kinds, strip_first)

    def bytes_of(self, token: str) -> bytes:
        """The bytes that one entry of the vocabulary adds to the text."""
        if self.byte_level:
            return b"".join(BYTE_OF.get(char, char.encode()) for char in token)
        if self.byte_fallback and (match := BYTE_NAME.fullmatch(token)):
            return bytes([int(match[1], 16)])
        for old, new in self.replace.items():
            token = token.replace(old, new)
        return token.encode()


def _gpt2_characters() -> dict[str, bytes]:
    """GPT-2's printable stand-in character of each of the 256 bytes."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    table = {chr(byte): bytes([byte]) for byte in plain}
    return table | {chr(256 + number): bytes([byte]) for number, byte in enumerate(others)}


BYTE_OF = _gpt2_characters()


def splits_at_words(rules: tokenizers.Tokenizer, vocabulary: Mapping[str, int]) -> bool:
    """Whether encoding word by word is exact: AI21's rules, and no entry across a boundary."""
    model = rules.model
    if not isinstance(model, tokenizers.models.BPE) or rules.pre_tokenizer is not None:
        return False
    if not model.byte_fallback or model.continuing_subword_prefix or model.end_of_word_suffix:
        return False
    normalizer = json.loads(rules.normalizer.__getstate__()) if rules.normalizer else {}
    steps = normalizer.get("normalizers", [normalizer])
    space = {"type": "Replace", "pattern": {"String": " "}, "content": WORD}
    if steps != [space] or any(f"<0x{byte:02X}>" not in vocabulary for byte in range(256)):
        return False
    entries = "\n".join(vocabulary)
    if entries.count("\n") != len(vocabulary) - 1 or re.search(rf"[^{WORD}\n]{WORD}", entries):
        return False
    # A byte that merges with its neighbour could reach across; AI21's bytes never merge.
    return all(len(token) == 6 for token in vocabulary if BYTE_NAME.search(token))


class HuggingFaceTokenizer(Tokenizer):
    """The rules of a tokenizer.json, without its post-processor, truncation and padding."""

    FILE = "tokenizer.json"

    def __init__(self, rules: tokenizers.Tokenizer, config: Mapping[str, Any]) -> None:
        vocabulary = rules.get_vocab(with_added_tokens=False)
        special = {name: number for name, number in vocabulary.items() if _is_control(name)}
        hidden = set(special.values())
        for number, token in rules.get_added_tokens_decoder().items():
            special[token.content] = number
            if token.special or _is_control(token.content):
                hidden.add(number)
        for name, number, is_control in _configured(config):
            if special.setdefault(name, number) == number and is_control:
                hidden.add(number)
        self._hidden = frozenset(hidden)
        self._names = {number: name for name, number in special.items()}
        self._spelling = Spelling.of(rules.decoder)
        # A tokenizer made anew from the model alone knows no added tokens, so that none can be
        # recognized in a document: `encode_special_tokens` leaves `<think>` and the like active.
        self._rules = tokenizers.Tokenizer(rules.model)
        if rules.normalizer is not None:
            self._rules.normalizer = rules.normalizer
        self._by_word = splits_at_words(rules, vocabulary)
        if self._by_word:
            self._rules.pre_tokenizer = pre_tokenizers.Split(Regex(WORDS), "isolated")
        elif rules.pre_tokenizer is not None:
            self._rules.pre_tokenizer = rules.pre_tokenizer
        self.vocab_size = 1 + max([*vocabulary.values(), *special.values()], default=-1)
        super().__init__(special, strip_first=self._spelling.strip_first)

    @classmethod
    def read(cls, directory: Path) -> HuggingFaceTokenizer:
        """Reads tokenizer.json and the added tokens of tokenizer_config.json."""
        path = directory / cls.FILE
        try:
            rules = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing more specific
            raise TokenizerError(
                f"{path} can't be read: {error}", hint="download the model again"
            ) from error
        if isinstance(rules.model, tokenizers.models.BPE):
            rules.model.dropout = None  # a training aid that makes encoding random
        return cls(rules, read_json(directory / "tokenizer_config.json"))

    def _cut(self, text: str) -> Iterable[str]:
        return cut(text, WORD_BOUNDARY) if self._by_word else [text]

    def _encode_batch(self, pieces: list[str]) -> list[list[int]]:
        encodings = self._rules.encode_batch_fast(pieces, add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def _token_bytes(self, token_id: int) -> bytes:
        if token_id in self._hidden:
            return b""
        if token_id in self._names:
            return self._names[token_id].encode()
        token = self._rules.id_to_token(token_id) if token_id >= 0 else None
        return b"" if token is None else self._spelling.bytes_of(token)


def _is_control(name: str) -> bool:
    """Whether a name says control token: AI21's files don't list `<|endoftext|>` as added."""
    return CONTROL_NAME.fullmatch(name) is not None


def _configured(config: Mapping[str, Any]) -> Iterable[tuple[str, int, bool]]:
    """Name, id and whether it is a control token, of tokenizer_config's `added_tokens_decoder`."""
    listed = config.get("added_tokens_decoder", {})
    try:
        return [
            (str(entry["content"]), int(number), bool(entry.get("special", False)))
            for number, entry in listed.items()
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise TokenizerError(
            "tokenizer_config.json: 'added_tokens_decoder' is not a table of ids and tokens"
        ) from error
