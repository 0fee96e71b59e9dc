"""What the saved contexts are described by; nothing here needs torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Identity:
    """What must be equal for a state to be used again: all of it, or nothing is."""

    model: str
    scheme: str
    numerics: str
    tokenizer: str

    def differences(self, other: Identity) -> list[str]:
        """The names of the fields that differ."""
        names = [field.name for field in fields(self)]
        return [name for name in names if getattr(self, name) != getattr(other, name)]


@dataclass(frozen=True, slots=True)
class Mark:
    """A file or page begins at this token: a good place for a checkpoint."""

    position: int
    label: str


@dataclass(frozen=True, slots=True)
class Segment:
    """Tokens [start, end) in one file, which ends in a checkpoint.

    The file's bytes before `state_offset` are token ids, keys and values; those from it on are
    the Mamba states at `end` and, if `logits`, the logits of the next token.  Each part has its
    own checksum, as only the last segment's states are read.  `prefix_hash` is that of all ids
    before `end`; `label` is the mark at `end`.
    """

    start: int
    end: int
    file: str
    nbytes: int
    state_offset: int
    checksum: str
    state_checksum: str
    prefix_hash: str
    label: str = ""
    logits: bool = False


@dataclass(frozen=True, slots=True)
class Context:
    """A saved context as it lies on disk.

    `tokens` is the length of its prompt, `saved_tokens` how far it was read; both are equal when
    `complete`.  `created` and `used` are seconds since 1970; `nbytes` counts a file that is
    shared with another context in full.  `problem` says in one line why it can't be used, and is
    empty if nothing is known against it; with `other_format` that is not damage but the format
    of another version of jamba.
    """

    id: str
    path: Path
    tokens: int
    complete: bool
    nbytes: int
    created: float
    used: float
    identity: Identity | None
    info: Mapping[str, Any]
    names: tuple[str, ...] = ()
    attachments: tuple[str, ...] = ()
    segments: tuple[Segment, ...] = ()
    problem: str = ""
    other_format: bool = False

    @property
    def saved_tokens(self) -> int:
        """Tokens up to the last checkpoint."""
        return self.segments[-1].end if self.segments else 0


@dataclass(frozen=True, slots=True)
class Match:
    """A stored checkpoint that a prompt begins with: the first segments of a context."""

    context: Context
    segments: tuple[Segment, ...]

    @property
    def tokens(self) -> int:
        """How many of the prompt's tokens it covers."""
        return self.segments[-1].end

    @property
    def label(self) -> str:
        """What begins at the checkpoint."""
        return self.segments[-1].label

    @property
    def files(self) -> list[Path]:
        """The files that it is restored from."""
        return [self.context.path / segment.file for segment in self.segments]


@dataclass(frozen=True, slots=True)
class Found:
    """All checkpoints that a prompt can go on from, the longest first; what was passed over."""

    matches: tuple[Match, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Named:
    """A name and the contexts it stands for, in order."""

    name: str
    ids: tuple[str, ...]
    info: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Collected:
    """What a clean-up removed: one line each, and the bytes that it freed; and what it kept.

    `kept_nbytes` is what all that it kept takes on the disk.
    """

    removed: tuple[str, ...]
    nbytes: int
    kept: tuple[Context, ...]
    kept_nbytes: int

    @property
    def left(self) -> tuple[Context, ...]:
        """Those of another version of jamba, which it does not judge."""
        return tuple(context for context in self.kept if context.other_format)


@dataclass(frozen=True, slots=True)
class Planned:
    """A context that is going to be saved: its id, and the bytes that it will take."""

    id: str
    nbytes: int


@dataclass(frozen=True, slots=True)
class Prefilled:
    """A prompt that is read: next-token logits [v] fp32, and where its tokens came from.

    `checkpoint` is the label of the one that was restored, empty if none or unnamed;
    `context_id` is where the prompt is saved now, None if nowhere; `notes` are one line each;
    `save_s` is how long the run waited for writing.
    """

    logits: Tensor
    reused: int
    computed: int
    checkpoint: str
    context_id: str | None
    notes: tuple[str, ...]
    save_s: float
