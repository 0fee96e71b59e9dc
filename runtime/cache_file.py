"""A cache on disk: one safetensors file that holds only what is filled."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from runtime.cache import HybridCache
from runtime.errors import JambaError

FORMAT = "jamba-cache-1"


def save_cache(cache: HybridCache, path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Writes keys, values and Mamba states up to the cache's position, atomically.

    `metadata` is kept beside them and given back by `load_cache`; put there what says which
    model and which tokens the state belongs to.
    """
    header = {"format": FORMAT, "position": str(cache.position)}
    header["metadata"] = json.dumps(dict(metadata or {}))
    tensors = {name: t.detach().contiguous().cpu() for name, t in cache.named_tensors().items()}
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        save_file(tensors, partial, metadata=header)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def load_cache(cache: HybridCache, path: Path) -> dict[str, str]:
    """Fills `cache` from a file and returns its metadata; raises JambaError if it can't."""
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            if header.get("format") != FORMAT:
                raise JambaError(f"{path}: not a saved cache of this version of jamba")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            cache.set_tensors(tensors, int(header["position"]))
            metadata: dict[str, str] = json.loads(header["metadata"])
            return metadata
    except FileNotFoundError:
        raise JambaError(f"{path}: not found") from None
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise JambaError(f"{path}: not a saved cache: {error}") from error
