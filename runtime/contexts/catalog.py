"""Reads what lies in the contexts folder, trusting nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from runtime.contexts import files
from runtime.contexts.hashing import DamagedError, OtherFormatError
from runtime.contexts.manifest import FILE, Manifest
from runtime.contexts.records import Context, Segment

ID_DIGITS = 16
_ID = re.compile(rf"[0-9a-f]{{{ID_DIGITS}}}")


def folders(root: Path) -> list[Path]:
    """The folders that may hold a context; raises OSError."""
    return [child for child in files.children(root) if _ID.fullmatch(child.name) and child.is_dir()]


def read_manifest(folder: Path) -> Manifest:
    """The manifest of one context; raises DamagedError."""
    try:
        return Manifest.decode((folder / FILE).read_bytes())
    except FileNotFoundError:
        raise DamagedError(f"{FILE} is missing") from None
    except OSError as error:
        raise DamagedError(f"{FILE} can't be read: {error.strerror}") from None
    except OtherFormatError:
        raise
    except DamagedError as error:
        raise DamagedError(f"{FILE}: {error}") from None


def read_context(folder: Path, names: Mapping[str, tuple[str, ...]]) -> Context | None:
    """One context, with its `problem` if a look at its files shows one; None if it is gone.

    A folder without a manifest is one whose first segment is being written, or what a crash left.
    """
    try:
        used = (folder / FILE).stat().st_mtime
    except OSError:
        return None
    nbytes = files.folder_nbytes(folder)
    known = names.get(folder.name, ())
    try:
        manifest = read_manifest(folder)
    except DamagedError as error:
        other = isinstance(error, OtherFormatError)
        return Context(
            folder.name, folder, 0, False, nbytes, used, used, None, {}, known,
            problem=str(error), other_format=other,
        )  # fmt: skip
    return Context(
        id=folder.name,
        path=folder,
        tokens=manifest.tokens,
        complete=manifest.complete,
        nbytes=nbytes,
        created=manifest.created,
        used=used,
        identity=manifest.identity,
        info=manifest.info,
        names=known,
        attachments=tuple(each.file for each in manifest.attachments),
        segments=manifest.segments,
        problem=next(missing_parts(folder, manifest), ""),
    )


def missing_parts(folder: Path, manifest: Manifest) -> Iterator[str]:
    """Files that are not there or not as long as they should be, one line each."""
    for file, nbytes in manifest.files.items():
        if problem := wrong_size(folder, file, nbytes):
            yield problem


def wrong_size(folder: Path, file: str, nbytes: int) -> str:
    """What is wrong with a file at first sight, or nothing."""
    try:
        found = (folder / file).stat().st_size
    except OSError:
        return f"{file} is missing"
    return "" if found == nbytes else f"{file} has {found:,} bytes instead of {nbytes:,}"


def usable(folder: Path, segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
    """The leading segments whose files are there and as long as they should be."""
    for count, segment in enumerate(segments):
        if wrong_size(folder, segment.file, segment.nbytes):
            return segments[:count]
    return segments
