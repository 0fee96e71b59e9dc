"""context.json: what a context is of, and the segments that are finished."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from runtime.contexts.hashing import (
    CHECKSUM_DIGITS,
    DamagedError,
    OtherFormatError,
    seal,
    unseal,
)
from runtime.contexts.records import Identity, Segment

FILE = "context.json"
FORMAT = "jamba-context-1"
_PLAIN = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that the writer of a context put beside it."""

    file: str
    nbytes: int
    checksum: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of context.json."""

    identity: Identity
    tokens: int
    complete: bool
    created: int
    segments: tuple[Segment, ...]
    attachments: tuple[Attachment, ...]
    info: Mapping[str, Any]

    def encode(self) -> bytes:
        """The bytes of the file."""
        return seal({"format": FORMAT, **asdict(self), "info": dict(self.info)})

    @classmethod
    def decode(cls, data: bytes) -> Manifest:
        """The inverse of `encode`; raises DamagedError for anything that it does not write.

        Another version's is an OtherFormatError.
        """
        values = unseal(data)
        if (found := values.pop("format", None)) != FORMAT:
            raise OtherFormatError(
                f"of another version of jamba (format {found!r}, this one reads {FORMAT!r})"
            )
        try:
            values["identity"] = Identity(**values["identity"])
            values["segments"] = tuple(Segment(**each) for each in values["segments"])
            values["attachments"] = tuple(Attachment(**each) for each in values["attachments"])
            manifest = cls(**values)
            consistent = manifest._consistent()
        except (TypeError, KeyError, AttributeError):
            consistent = False
        if not consistent:
            raise DamagedError("it contradicts itself")
        return manifest

    @property
    def files(self) -> dict[str, int]:
        """The files of a context besides its manifest, and their lengths."""
        parts: list[Segment | Attachment] = [*self.segments, *self.attachments]
        return {part.file: part.nbytes for part in parts}

    def with_segment(self, segment: Segment) -> Manifest:
        """The same with one more segment, complete if that reaches the last token."""
        complete = segment.end == self.tokens and segment.logits
        return replace(self, segments=(*self.segments, segment), complete=complete)

    def _consistent(self) -> bool:
        end = 0
        for segment in self.segments:
            hashes = (segment.checksum, segment.state_checksum, segment.prefix_hash)
            if segment.start != end or any(len(each) != CHECKSUM_DIGITS for each in hashes):
                return False
            end = segment.end
        last = self.segments[-1] if self.segments else None
        whole = last is not None and last.end == self.tokens and last.logits
        files = self.files.keys()
        plain = all(_PLAIN.fullmatch(file) for file in files) and FILE not in files
        plain = plain and isinstance(self.info, dict)
        return plain and end <= self.tokens and self.complete == whole


def segment_file(start: int, end: int) -> str:
    """What the file of tokens [start, end) is called."""
    return f"{start:08d}-{end:08d}.safetensors"
