"""Which model, in which numerics: what a saved state belongs to.

A model of 50 GB is not read to be recognized.  Its hash covers config.json, the header of every
safetensors file (names, types, shapes, offsets), the files' sizes, and 4 KiB from the middle of
every tensor.  That tells any two checkpoints apart that differ in shape, in quantization or by
training, which changes every tensor.  It does not see an edit by hand of a few numbers elsewhere
in a tensor: whoever does that has to remove their contexts.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from quant.ops.dispatch import choice
from quant.ops.matmul.w8a8 import multiplies_int8
from runtime.contexts.records import Identity
from runtime.devices import Precision
from runtime.engine import Engine
from runtime.errors import CheckpointError, JambaError

NUMERICS_VERSION = 3
"""Raised with every change of the arithmetic: what was saved before is then not used again."""

SAMPLE_BYTES = 4_096
_TOKENIZER_FILES = ("tokenizer*", "special_tokens_map.json", "added_tokens.json")
_LONGEST_HEADER = 100_000_000  # as the safetensors library has it


def identify(engine: Engine) -> Identity:
    """The identity of an engine; raises JambaError for one that was not loaded from files."""
    if engine.directory is None:
        raise JambaError("a model that was not loaded from files has no saved contexts")
    model, tokenizer = _hashes(engine.directory, _signature(engine.directory))
    return Identity(
        model=model,
        scheme=_stored_scheme(engine.config.quantization) or engine.scheme,
        numerics=f"{numerics(engine.device, engine.precision)}-{engine.scheme}",
        tokenizer=tokenizer,
    )


def numerics(device: torch.device, precision: Precision) -> str:
    """What decides the bits: version of the arithmetic, device, dtypes, kernels, libraries."""
    kind = device.type
    if kind == "cpu":
        kind += f"-{torch.backends.cpu.get_cpu_capability()}"
        kind += "+int8" if multiplies_int8() else ""
    elif kind == "cuda":
        kind += "-sm{}{}".format(*torch.cuda.get_device_capability(device))
    values = [getattr(precision, each.name) for each in fields(precision)]
    values.append(precision.products(device))
    values.append(choice("runtime.ops.selective_scan", device.type))
    libraries = ("torch", "triton") if device.type == "cuda" else ("torch",)
    values += [f"{name} {_version(name)}" for name in libraries]
    names = (str(value).removeprefix("torch.") for value in values)
    return "-".join((str(NUMERICS_VERSION), kind, *names))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # built from source, without metadata
        return "unknown"


def _stored_scheme(quantization: Mapping[str, Any] | None) -> str | None:
    if quantization is None:
        return None
    return json.dumps(quantization, sort_keys=True, separators=(",", ":"))


def _signature(directory: Path) -> tuple[tuple[str, int, int], ...]:
    """What changes when a file of the model does."""
    found = []
    for path in sorted(directory.iterdir()):
        with suppress(OSError):
            status = path.stat()
            found.append((path.name, status.st_size, status.st_mtime_ns))
    return tuple(found)


@lru_cache(maxsize=4)
def _hashes(directory: Path, _key: object) -> tuple[str, str]:
    return model_hash(directory), tokenizer_hash(directory)


def model_hash(directory: Path) -> str:
    """The hash of a model's config and weights; raises CheckpointError for a broken file."""
    digest = hashlib.sha256((directory / "config.json").read_bytes())
    for path in sorted(directory.glob("*.safetensors")):
        digest.update(f"\n{path.name} {path.stat().st_size}\n".encode())
        try:
            _add_weights(digest, path)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"{path}: its header can't be read: {error}", hint="download the model again"
            ) from error
    return digest.hexdigest()


def tokenizer_hash(directory: Path) -> str:
    """The hash of everything that says which ids a text becomes."""
    digest = hashlib.sha256()
    paths = {path for pattern in _TOKENIZER_FILES for path in directory.glob(pattern)}
    for path in sorted(paths):
        digest.update(f"\n{path.name} {path.stat().st_size}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _add_weights(digest: Any, path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        length = int.from_bytes(file.read(8), "little")
        if length > _LONGEST_HEADER:
            raise ValueError(f"{length:,} bytes long")
        header = file.read(length)
        digest.update(header)
        for name, entry in sorted(json.loads(header).items()):
            if name == "__metadata__":
                continue
            start, end = entry["data_offsets"]
            first = start + max(0, (end - start - SAMPLE_BYTES) // 2)
            count = min(SAMPLE_BYTES, end - start)
            digest.update(os.pread(file.fileno(), count, 8 + length + first))
