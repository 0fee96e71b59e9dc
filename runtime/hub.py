"""Models in the Hugging Face Hub's cache, as they lie there; download.py fills it.

The cache is read by its documented layout (`models--ORG--NAME/refs/main`, `snapshots/COMMIT/`),
because importing huggingface_hub's own reader takes half a second.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

INDEX = "model.safetensors.index.json"
_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def is_repo_id(name: str) -> bool:
    """Whether a name has the form ORG/NAME."""
    return _REPO_ID.fullmatch(name) is not None


def cache_directory() -> Path:
    """Where the Hub's client keeps models: HF_HUB_CACHE, HF_HOME or its default."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def cache_folder(repo_id: str) -> Path:
    """Where the cache keeps all versions of a model."""
    return cache_directory() / f"models--{repo_id.replace('/', '--')}"


def cached_snapshot(repo_id: str) -> Path | None:
    """The directory of a model's newest downloaded version; it may be incomplete."""
    folder = cache_folder(repo_id)
    try:
        commit = (folder / "refs" / "main").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    snapshot = folder / "snapshots" / commit
    return snapshot if commit and snapshot.is_dir() else None


def cached_snapshots() -> Iterator[tuple[str, Path]]:
    """Hub id and directory of every model in the cache."""
    for folder in sorted(cache_directory().glob("models--*--*")):
        repo_id = folder.name.removeprefix("models--").replace("--", "/", 1)
        snapshot = cached_snapshot(repo_id)
        if snapshot is not None:
            yield repo_id, snapshot


def weight_files(path: Path) -> list[Path]:
    """The weight files that a model directory should hold, from its index where it has one."""
    try:
        index = json.loads((path / INDEX).read_text(encoding="utf-8"))
        return [path / name for name in sorted(set(index["weight_map"].values()))]
    except FileNotFoundError:
        return sorted(path.glob("*.safetensors")) or [path / "model.safetensors"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return [path / INDEX]


def weight_bytes(path: Path) -> int:
    """Size of the weights that are there."""
    return sum(file.stat().st_size for file in weight_files(path) if file.is_file())


def missing_files(path: Path) -> str | None:
    """What a model directory lacks, in words; None if it is complete."""
    expected = weight_files(path)
    absent = [file.name for file in expected if not file.is_file()]
    if not absent:
        return None
    return f"{len(absent)} of {len(expected)} weight files are missing, such as {absent[0]}"
