"""The tokenizer, rebuilt from the GGUF file: byte-level BPE with every digit on its own."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import tiktoken

PATTERN = r"\p{N}|'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+(?=\p{N})|\s+(?!\S)|\s+"
"""GPT-2's pattern inside the runs between digits, which are split off first, one by one."""

_POSSIBLE_BYTES = [byte for byte in range(256) if byte not in (192, 193) and byte < 245]
_CONTROL = 3  # GGUF's token type of special tokens


def _byte_of_character() -> dict[str, int]:
    """GPT-2's printable stand-in character of each byte, reversed."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {chr(byte): byte for byte in printable}
    others = [byte for byte in range(256) if byte not in printable]
    return table | {chr(256 + index): byte for index, byte in enumerate(others)}


def ranks_from_gguf(metadata: dict[str, Any]) -> tuple[dict[bytes, int], dict[str, int]]:
    """Mergeable ranks and special tokens, both -> token id.

    The teacher knows no token for some control bytes.  They take the ids of special tokens that
    nobody uses, so that no input can be impossible to encode.
    """
    table = _byte_of_character()
    kinds = metadata["tokenizer.ggml.token_type"]
    ranks: dict[bytes, int] = {}
    special: dict[str, int] = {}
    for index, token in enumerate(metadata["tokenizer.ggml.tokens"]):
        if kinds[index] == _CONTROL:
            special[token] = index
        else:
            ranks[bytes(table[ch] for ch in token)] = index
    missing = [bytes([byte]) for byte in _POSSIBLE_BYTES if bytes([byte]) not in ranks]
    spare = sorted(special, key=lambda token: special[token])[len(special) - len(missing) :]
    for byte, token in zip(missing, spare, strict=True):
        ranks[byte] = special.pop(token)
    return ranks, special


def save(ranks: dict[bytes, int], special: dict[str, int], folder: Path) -> None:
    """Writes the rank file and the special tokens, which `read_encoding` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    write_rank_file(ranks, folder / "tokenizer.tiktoken")
    text = json.dumps({"tiktoken_pattern": PATTERN, "tiktoken_special_tokens": special}, indent=2)
    (folder / "tokenizer_config.json").write_text(text)


def read_encoding(folder: Path) -> tiktoken.Encoding:
    """The tokenizer from its rank file and configuration."""
    config = json.loads((folder / "tokenizer_config.json").read_text())
    ranks = {}
    for line in (folder / "tokenizer.tiktoken").read_text().splitlines():
        token, rank = line.split()
        ranks[base64.b64decode(token)] = int(rank)
    return tiktoken.Encoding(
        name="nano",
        pat_str=config["tiktoken_pattern"],
        mergeable_ranks=ranks,
        special_tokens=config["tiktoken_special_tokens"],
    )


def write_rank_file(ranks: dict[bytes, int], path: Path) -> None:
    """tiktoken's own format: base64 of the token, a space, the rank."""
    lines = (
        f"{base64.b64encode(token).decode()} {rank}\n"
        for token, rank in sorted(ranks.items(), key=lambda item: item[1])
    )
    path.write_text("".join(lines))
