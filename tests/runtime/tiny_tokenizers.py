"""Tiny tokenizers in the family's two kinds, written to a directory as a checkpoint holds them."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors

# AI21's own file, where the shared data are: tests that need it skip by name elsewhere.
REAL = Path(__file__).resolve().parents[3] / "shared/data/jamba2-tokenizer"

WORDS = ("the", "cat", "sat", "on", "mat", "Hello", "world", "assistant", "user", "system", "éa")
PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""


def _merges() -> list[tuple[str, str]]:
    """Left-to-right merges of some words, of a space before them, and of runs of spaces."""
    merges: list[tuple[str, str]] = [("▁", "▁"), ("▁▁", "▁▁")]
    for word in WORDS:
        for end in range(2, len(word) + 1):
            merges.append((word[: end - 1], word[end - 1]))
        merges.append(("▁", word))
    return list(dict.fromkeys(merges))


def write_ai21(directory: Path, *, names: tuple[str, ...] = ()) -> Path:
    """AI21's kind: character BPE with byte fallback, `<|endoftext|>` no added token."""
    special = ["<|pad|>", "<|startoftext|>", "<|endoftext|>", "<|unk|>", "<|mask_0|>"]
    added = [*special[:2], special[3], *names]
    letters = [chr(code) for code in range(33, 127)] + ["▁", "é"]
    merges = _merges()
    entries = [*special, *names, *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    entries += ["".join(pair) for pair in merges]
    vocabulary = {entry: number for number, entry in enumerate(dict.fromkeys(entries))}
    rules = Tokenizer(
        models.BPE(
            vocab=vocabulary, merges=merges, byte_fallback=True, fuse_unk=True, unk_token="<|unk|>"
        )
    )
    rules.normalizer = normalizers.Sequence([normalizers.Replace(" ", "▁")])
    rules.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    rules.add_special_tokens([name for name in added if name.startswith("<|")])
    rules.add_tokens(
        [AddedToken(name, normalized=False) for name in added if not name.startswith("<|")]
    )
    rules.post_processor = processors.TemplateProcessing(
        single="<|startoftext|> $A", special_tokens=[("<|startoftext|>", 1)]
    )
    rules.enable_truncation(8)
    rules.save(str(directory / "tokenizer.json"))
    write_config(directory, bos_token="<|startoftext|>", eos_token={"content": "<|endoftext|>"})
    return directory


def write_ranks(directory: Path) -> Path:
    """The embedded model's kind: ids 0 to 3 special, then bytes, then some merges."""
    tokens = [bytes([byte]) for byte in range(256)]
    for word in (b" the", b"the", b"cat", b" cat", b"Hello", b"    ", "é".encode(), "漢".encode()):
        tokens += [word[:end] for end in range(2, len(word) + 1)]
    ranks = {token: number + 4 for number, token in enumerate(dict.fromkeys(tokens))}
    lines = [b"%s %d" % (base64.b64encode(token), rank) for token, rank in ranks.items()]
    (directory / "tokenizer.tiktoken").write_bytes(b"\n".join(lines))
    write_config(
        directory,
        tiktoken_pattern=PATTERN,
        tiktoken_special_tokens={
            "<|endoftext|>": 0,
            "<|im_start|>": 1,
            "<|im_end|>": 2,
            "<think>": 3,
        },
    )
    return directory


def write_config(directory: Path, **keys: object) -> None:
    """Adds keys to tokenizer_config.json."""
    path = directory / "tokenizer_config.json"
    held = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**held, **keys}))
