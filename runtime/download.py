"""Downloads a model into the Hub's cache; the only place where the runtime uses the network."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from runtime import hub
from runtime.errors import JambaError, ModelError

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

FILES = (
    "*.safetensors",
    "*.safetensors.index.json",
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template*",
    "LICENSE*",
    "NOTICE*",
)
"""What is downloaded: no second copy of the weights in another format, no code."""

SPARE_BYTES = 1_000_000_000
"""Room to leave on the disk."""

Progress = Callable[[int, int], None]
"""Called now and then, from another thread, with the bytes that are here and those of the whole."""


def pull(repo_id: str, on_progress: Progress | None = None) -> Path:
    """Downloads a model, or what is missing of it, and returns its directory.

    Honours HF_HOME, HF_TOKEN and HF_ENDPOINT.  Raises ModelError when the Hub can't be reached,
    when it has no such model or asks for a licence, and when the disk has no room.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    # The bases are the errors of whichever HTTP library the client was built on.
    causes: tuple[type[BaseException], ...] = (OSError, *HfHubHTTPError.__bases__)
    try:
        info = HfApi().model_info(repo_id, files_metadata=True)
        blobs = _blobs(info.siblings or [])
        _check_room(repo_id, sum(blobs.values()) - _bytes_here(repo_id, blobs))
        with _reported(repo_id, blobs, on_progress), _without_bars():
            path = Path(snapshot_download(repo_id, allow_patterns=list(FILES)))
    except causes as error:
        raise _failed(repo_id, error) from error
    problem = hub.missing_files(path)
    if problem is not None:
        raise ModelError(
            f"{repo_id}: {problem}", hint="the repository holds no model in safetensors"
        )
    return path


def _blobs(siblings: Iterable[RepoSibling]) -> dict[str, int]:
    """Name in the cache -> size in bytes, of the files that will be downloaded."""
    return {
        (item.lfs.sha256 if item.lfs else item.blob_id) or item.rfilename: item.size or 0
        for item in siblings
        if any(fnmatch(item.rfilename, pattern) for pattern in FILES)
    }


def _bytes_here(repo_id: str, blobs: Mapping[str, int]) -> int:
    """How much of the files has arrived; the names of unfinished ones go on after a dot."""
    total = 0
    for file in hub.cache_folder(repo_id).glob("blobs/*"):
        size = blobs.get(file.name.split(".")[0])
        if size is not None:
            try:
                total += min(file.stat().st_size, size)
            except FileNotFoundError:
                continue  # renamed meanwhile
    return total


def _check_room(repo_id: str, needed_bytes: int) -> None:
    place = hub.cache_directory()
    while not place.exists():
        place = place.parent
    free_bytes = shutil.disk_usage(place).free
    if needed_bytes + SPARE_BYTES > free_bytes:
        raise ModelError(
            f"{repo_id} needs {needed_bytes / 1e9:.1f} GB more, "
            f"{place} has {free_bytes / 1e9:.1f} GB free",
            hint="HF_HOME=DIRECTORY keeps models on another disk",
        )


@contextmanager
def _reported(
    repo_id: str, blobs: Mapping[str, int], on_progress: Progress | None
) -> Iterator[None]:
    """Looks at the disk for progress: each version of huggingface_hub counts in its own way."""
    if on_progress is None:
        yield
        return
    total = sum(blobs.values())
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.25):
            on_progress(_bytes_here(repo_id, blobs), total)

    watcher = threading.Thread(target=watch, name="jamba-download-progress", daemon=True)
    watcher.start()
    try:
        yield
        on_progress(total, total)
    finally:
        stop.set()
        watcher.join()


@contextmanager
def _without_bars() -> Iterator[None]:
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    # With the variable set the functions only warn.
    if are_progress_bars_disabled() or os.environ.get("HF_HUB_DISABLE_PROGRESS_BARS"):
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def _failed(repo_id: str, error: BaseException) -> JambaError:
    """The error in the user's terms."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return ModelError(
            f"{repo_id} is gated: its owner asks you to accept a licence first",
            hint=f"accept it on https://huggingface.co/{repo_id}, then set HF_TOKEN to your token",
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return ModelError(
            f"{repo_id}: the Hub has no such model, or it is private",
            hint="check the name; for a private model set HF_TOKEN",
        )
    if isinstance(error, errors.OfflineModeIsEnabled):
        return ModelError(
            f"{repo_id} can't be downloaded: HF_HUB_OFFLINE is set", hint="unset HF_HUB_OFFLINE"
        )
    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code if error.response is not None else "no"
        return ModelError(
            f"{repo_id}: the Hub answered with status {status}",
            hint="try again later; what has arrived is kept",
        )
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return ModelError(
            f"{repo_id}: no space left on the disk of {hub.cache_directory()}",
            hint="HF_HOME=DIRECTORY keeps models on another disk",
        )
    if isinstance(error, PermissionError):
        return ModelError(f"{repo_id}: {error.filename}: permission denied")
    return ModelError(
        f"{repo_id} can't be downloaded: the Hub can't be reached ({type(error).__name__})",
        hint="check the network and HF_ENDPOINT; what has arrived is kept",
    )
