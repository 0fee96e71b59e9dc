"""`jamba quantize`: a checkpoint to a quantized one, in the layout that is loaded by copying.

The files are made at their full size and filled in place through a memory map, so that only the
tensor at hand is in memory.  A file has its name when it is whole; a conversion that was stopped
goes on after the last whole file.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from runtime.checkpoint import Checkpoint, weight_files
from runtime.config import JambaConfig
from runtime.devices import Precision
from runtime.errors import JambaError, ModelError, UsageError
from runtime.formats import LAYOUT, METHOD, Format, stored_format
from runtime.hub import INDEX
from runtime.layout import Slot, slots
from runtime.quantization import Quantization
from runtime.tensor_file import Entry, make_header, read_header
from runtime.weights import (
    OnBytes,
    build,
    check,
    counter,
    fill,
    parameter_dtypes,
    set_parameter,
)

SHARD_BYTES = 2_000_000_000
"""Files grow to about this; what an interrupted conversion does again is one of them."""

MANIFEST = "conversion.json"
"""Lies in the destination until the conversion is complete."""

CPU = torch.device("cpu")
_SAMPLE = 4096
_COPIED = (".json", ".jinja", ".tiktoken", ".model", ".txt")
"""Tokenizer, template and generation settings: what a model directory holds beside weights."""
_DTYPE_NAMES = {torch.float32: "float32", torch.bfloat16: "bfloat16", torch.float16: "float16"}


@dataclass(frozen=True, slots=True)
class Shard:
    """One file to make: its name and the parameters that it holds."""

    name: str
    entries: dict[str, Entry]


def convert(
    source: Path,
    destination: Path,
    quantization: Quantization,
    *,
    device: torch.device = CPU,
    shard_bytes: int = SHARD_BYTES,
    on_bytes: OnBytes | None = None,
) -> bool:
    """Writes a quantized checkpoint, or goes on with one; False if it is already there.

    Tensors go one by one to `device` to be quantized there.

    Raises UsageError if `destination` holds anything else, ModelError for a source that can't be
    read, JambaError where the disk has no room.
    """
    config = JambaConfig.from_json(source)
    if stored_format(config.quantization, str(source / "config.json")) == "parameters":
        raise ModelError(
            f"{source}: is quantized already", hint="quantize from the model's bf16 checkpoint"
        )
    wanted = slots(config)
    checkpoint = Checkpoint(source, config.quantization)
    check(wanted, checkpoint, config)
    quantization.tell_left_out(config)
    precision = _file_precision(config, checkpoint.format)
    identity: dict[str, Any] = {
        "quant_method": METHOD,
        "layout": LAYOUT,
        **quantization.as_json(),
        "kept_dtype": _DTYPE_NAMES[precision.weights],
        "source": fingerprint(source),
    }
    shards = _shards(config, quantization, precision, shard_bytes)
    if not _open_destination(destination, identity, shards):
        return False
    _check_disk(destination, shards)
    on_slot = counter(checkpoint, on_bytes)
    with _alone_in(destination):
        for shard in shards:
            file = destination / shard.name
            parts = [slot for slot in wanted.values() if _parameters(slot) & shard.entries.keys()]
            if file.is_file():
                for slot in parts:
                    on_slot(slot.name)
                continue
            with _mapped(file, shard, quantization) as tensors:
                model = build(config, quantization)
                for name, memory in tensors.items():
                    set_parameter(model, name, memory)
                fill(model, parts, checkpoint, quantization.scheme, on_slot, device)
        _complete(source, destination, shards, identity)
    return True


def fingerprint(directory: Path) -> str:
    """SHA-256 over config.json, the weight files' headers and the beginning of every tensor.

    A hash of everything would read 100 GB twice; two models that agree in all this are one.
    """
    digest = hashlib.sha256((directory / "config.json").read_bytes())
    for file in weight_files(directory):
        digest.update(f"{file.name} {file.stat().st_size}".encode())
        entries, _ = read_header(file)
        with file.open("rb") as stream:
            for name, entry in sorted(entries.items()):
                digest.update(f"{name} {entry.dtype} {entry.shape} {entry.start}".encode())
                stream.seek(entry.start)
                digest.update(stream.read(min(_SAMPLE, entry.nbytes)))
    return digest.hexdigest()


def _file_precision(config: JambaConfig, form: Format) -> Precision:
    """Everything that is not quantized as the checkpoint has it, on whatever machine this runs."""
    stored = {name: dtype for dtype, name in _DTYPE_NAMES.items()}[config.dtype]
    return Precision(stored, torch.float16 if form == "nano" else stored)


def _parameters(slot: Slot) -> set[str]:
    """The names that a slot's parameter may have, plain or quantized."""
    path, _, leaf = slot.parameter.rpartition(".")
    prefix = f"{path}." if leaf == "weight" else f"{slot.parameter}_"
    return {slot.parameter, f"{prefix}codes", f"{prefix}scale"}


def _shards(
    config: JambaConfig, quantization: Quantization, precision: Precision, shard_bytes: int
) -> list[Shard]:
    """The files in the order of the layers; codes and scales of a weight are never parted."""
    model = build(config, quantization)
    groups: list[dict[str, Entry]] = [{}]
    size = 0
    for name, dtype in parameter_dtypes(model, precision).items():
        entry = Entry(dtype, tuple(model.get_parameter(name).shape))
        if size and size + entry.nbytes > shard_bytes and not name.endswith("scale"):
            groups.append({})
            size = 0
        groups[-1][name] = entry
        size += entry.nbytes
    count = len(groups)
    return [
        Shard(f"model-{number:05d}-of-{count:05d}.safetensors", entries)
        for number, entries in enumerate(groups, 1)
    ]


def _open_destination(destination: Path, identity: dict[str, Any], shards: list[Shard]) -> bool:
    """Makes the directory or recognizes an unfinished conversion; False for a finished one."""
    manifest = {"identity": identity, "shards": [shard.name for shard in shards]}
    hint = "name a new directory, or remove this one"
    if destination.exists() and not destination.is_dir():
        raise UsageError(f"{destination} is a file", hint=hint)
    destination.mkdir(parents=True, exist_ok=True)
    file = destination / MANIFEST
    if file.is_file():
        if _read_json(file) != manifest:
            raise UsageError(
                f"{destination} holds an unfinished conversion of another source or scheme",
                hint=hint,
            )
        return True
    if (destination / "config.json").is_file():
        if _read_json(destination / "config.json").get("quantization_config") != identity:
            raise UsageError(f"{destination} holds another model", hint=hint)
        if all((destination / shard.name).is_file() for shard in shards):
            return False
    elif any(destination.iterdir()):
        raise UsageError(f"{destination} is not empty", hint=hint)
    _write_text(file, json.dumps(manifest, indent=1))
    return True


def _check_disk(destination: Path, shards: list[Shard]) -> None:
    missing = sum(
        entry.nbytes
        for shard in shards
        if not (destination / shard.name).is_file()
        for entry in shard.entries.values()
    )
    free = shutil.disk_usage(destination).free
    if missing > free:
        raise JambaError(
            f"{destination}: {missing / 1e9:.1f} GB to write, {free / 1e9:.1f} GB free",
            hint="free some space, or name a directory on another disk",
        )


@contextmanager
def _alone_in(destination: Path) -> Iterator[None]:
    """Holds the destination against a second process; raises UsageError if another has it."""
    with (destination / MANIFEST).open(encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"another process is writing {destination}") from None
        yield


@contextmanager
def _mapped(file: Path, shard: Shard, quantization: Quantization) -> Iterator[dict[str, Tensor]]:
    """The tensors of a file as memory that is written through to it; named when it is whole."""
    header, placed = make_header(shard.entries, {"scheme": quantization.scheme.name})
    partial = file.with_suffix(".partial")
    end = max(entry.start + entry.nbytes for entry in placed.values())
    with partial.open("wb+") as stream:
        stream.write(header)
        stream.flush()
        _reserve(stream.fileno(), end)
        whole = torch.from_file(str(partial), shared=True, size=end, dtype=torch.uint8)
        yield {
            name: whole[entry.start : entry.start + entry.nbytes]
            .view(entry.dtype)
            .view(entry.shape)
            for name, entry in placed.items()
        }
        os.fsync(stream.fileno())
    partial.rename(file)


def _reserve(descriptor: int, size: int) -> None:
    """Gives a file its blocks: a disk that is full is an error here, and a crash in a mapping."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.truncate(descriptor, size)


def _complete(
    source: Path, destination: Path, shards: Sequence[Shard], identity: dict[str, Any]
) -> None:
    """Writes the index and the configuration, and copies what belongs to a model otherwise."""
    for file in sorted(source.iterdir()):
        made_here = file.name in ("config.json", INDEX, MANIFEST)
        copied = file.suffix in _COPIED or file.name.startswith(("LICENSE", "NOTICE"))
        if copied and not made_here and file.is_file():
            shutil.copyfile(file, destination / file.name)
    weight_map = {name: shard.name for shard in shards for name in shard.entries}
    total = sum(entry.nbytes for shard in shards for entry in shard.entries.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    _write_text(destination / INDEX, json.dumps(index, indent=1))
    values = _read_json(source / "config.json") | {"quantization_config": identity}
    _write_text(destination / "config.json", json.dumps(values, indent=2))
    (destination / MANIFEST).unlink()


def _read_json(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{file}: can't be read: {error}", hint="name a new directory") from error
    return values if isinstance(values, dict) else {}


def _write_text(file: Path, text: str) -> None:
    """Writes a file as a whole or not at all."""
    partial = file.with_name(file.name + ".partial")
    partial.write_text(text + "\n", encoding="utf-8")
    partial.replace(file)
