"""The folder of saved contexts: look-up by content, listing, names, removal."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from runtime.contexts import catalog, files, names, upkeep
from runtime.contexts.hashing import DamagedError, checksum, id_bytes, prefix_hashes
from runtime.contexts.locks import FOLDER as LOCKS
from runtime.contexts.locks import try_locked
from runtime.contexts.manifest import FILE
from runtime.contexts.records import Collected, Context, Found, Identity, Match, Named, Segment
from runtime.errors import JambaError

QUOTA_BYTES = 20_000_000_000


class ContextStore:
    """Saved contexts under one folder, which is made when the first one is written.

    Several processes may use one folder at a time.  `quota_bytes` bounds what all contexts take;
    the least recently used go first, those with a name last.  A folder that can't be read or
    written is a JambaError that says so.
    """

    def __init__(self, root: Path, *, quota_bytes: int = QUOTA_BYTES) -> None:
        self.root = root
        self.quota_bytes = quota_bytes

    def longest(self, identity: Identity, ids: Sequence[int]) -> Match | None:
        """The longest stored checkpoint that these ids begin with."""
        matches = self.lookup(identity, ids).matches
        return matches[0] if matches else None

    def lookup(self, identity: Identity, ids: Sequence[int]) -> Found:
        """All stored checkpoints that these ids can go on from, longest first.

        The notes say which contexts had to be passed over: damaged ones and those of another
        version of jamba, where they have or may have these ids, and one that has more of these ids
        but was made by another model, scheme, version or tokenizer.
        """
        wanted = context_id(identity, ids)
        contexts = self.contexts()
        ends = {segment.end for context in contexts for segment in context.segments}
        hashes = prefix_hashes(ids, ends)
        matches: list[Match] = []
        foreign: list[Match] = []
        notes: list[str] = []
        for context in contexts:
            own = context.identity == identity
            count = _matching(context.segments, hashes)
            segments = context.segments[:count]
            if own:
                segments = catalog.usable(context.path, segments)
            if context.problem and (context.id == wanted or len(segments) < count):
                notes.append(_passed_over(context))
            for length in range(len(segments), 0, -1):
                last = segments[length - 1]
                if last.end < len(ids) or last.logits:
                    match = Match(context, segments[:length])
                    (matches if own else foreign).append(match)
        matches.sort(key=lambda match: -match.tokens)
        best = max(foreign, key=lambda match: match.tokens, default=None)
        if best is not None and best.tokens > (matches[0].tokens if matches else 0):
            assert best.context.identity is not None
            differing = " and ".join(best.context.identity.differences(identity))
            notes.append(
                f"saved context {best.context.id} has {best.tokens:,} of these tokens but "
                f"another {differing}: not used"
            )
        return Found(tuple(matches), tuple(notes))

    def contexts(self) -> list[Context]:
        """All contexts, the most recently used first, those that can't be used included."""
        with files.told(self.root):
            known = names.by_context(self.root)
            found = [catalog.read_context(folder, known) for folder in catalog.folders(self.root)]
        return sorted((each for each in found if each), key=lambda each: (-each.used, each.id))

    def get(self, ref: str) -> Context:
        """The context whose id begins with `ref`; raises JambaError if that is not one."""
        found = [each for each in self.contexts() if each.id.startswith(ref)]
        if len(found) == 1 and ref:
            return found[0]
        if found and ref:
            listed = ", ".join(each.id for each in found[:5])
            raise JambaError(
                f"{len(found)} saved contexts begin with '{ref}': {listed}",
                hint="give more of the id",
            )
        raise JambaError(
            f"no saved context has the id '{ref}'", hint="`jamba contexts list` shows them"
        )

    def attachment(self, context: Context, file: str) -> bytes:
        """A file that was saved with a context; raises JambaError if it is missing or damaged."""
        try:
            manifest = catalog.read_manifest(context.path)
            wanted = next((each for each in manifest.attachments if each.file == file), None)
            if wanted is None:
                raise DamagedError(f"it has no {file}")
            data = (context.path / file).read_bytes()
            if checksum(data) != wanted.checksum:
                raise DamagedError(f"{file}: its checksum does not match")
        except (DamagedError, OSError) as error:
            reason = f"{file}: {error.strerror}" if isinstance(error, OSError) else error
            raise JambaError(
                f"saved context {context.id} can't be used: {reason}",
                hint="read its sources again",
            ) from error
        return data

    def named(self, name: str) -> Named:
        """What a name stands for; raises JambaError whose hint lists the names."""
        return names.read(self.root, name)

    def names(self) -> list[Named]:
        """All names, sorted."""
        with files.told(self.root):
            return names.read_all(self.root)

    def has_name(self, name: str) -> bool:
        """Whether there is a name, even one whose file is damaged."""
        return names.exists(self.root, name)

    def set_name(self, name: str, ids: Sequence[str], info: Mapping[str, Any]) -> None:
        """Lets a name stand for contexts, in order; replaces what it stood for."""
        with files.told(self.root):
            files.private_folder(self.root)
            names.write(self.root, name, ids, info)

    def remove_name(self, name: str) -> None:
        """Forgets a name, not its contexts; raises JambaError if there is none."""
        with files.told(self.root):
            names.remove(self.root, name)

    def remove(self, id: str) -> int:  # noqa: A002
        """Removes a context and returns the bytes that this frees.

        Raises JambaError if there is none of this id, or if a process is writing it.
        """
        context = self.get(id)
        with self._held(context.id):
            return upkeep.delete(context.path)

    def check_removable(self, id: str) -> None:  # noqa: A002
        """Raises JambaError if a process is writing the context, or nobody may."""
        with self._held(id):
            pass

    @contextmanager
    def _held(self, id: str) -> Iterator[None]:  # noqa: A002
        with files.told(self.root), try_locked(self.lock_path(id)) as free:
            if not free:
                raise JambaError(
                    f"saved context {id} is being written by another process",
                    hint="try again when that has finished",
                )
            yield

    def collect(self) -> Collected:
        """Removes what is of no use: leftovers, damaged contexts, and what is over the quota."""
        with files.told(self.root):
            return upkeep.collect(self)

    def verify(self, context: Context) -> list[str]:
        """Reads all of a context and returns what is wrong with it, a line each."""
        return upkeep.verify(context)

    def check_writable(self) -> None:
        """Raises JambaError if no context can be written here."""
        with files.told(self.root):
            with try_locked(self.lock_path(f"check-{os.getpid()}")):
                pass
            if not os.access(self.root, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), self.root)

    def lock_path(self, id: str) -> Path:  # noqa: A002
        """The lock file of a context, in a folder that exists now."""
        folder = self.root / LOCKS
        files.private_folder(self.root)
        files.private_folder(folder)
        return folder / f"{id}.lock"

    def touch(self, context: Context) -> None:
        """Notes that a context was used now."""
        with suppress(OSError):
            os.utime(context.path / FILE)


def context_id(identity: Identity, ids: Sequence[int]) -> str:
    """The id of the context of exactly these tokens: the same in every process."""
    fields = "\n".join((identity.model, identity.scheme, identity.numerics, identity.tokenizer))
    return checksum(fields.encode() + b"\n" + id_bytes(ids))[: catalog.ID_DIGITS]


def _passed_over(context: Context) -> str:
    if context.other_format:
        return f"saved context {context.id} is {context.problem}: not used"
    return f"saved context {context.id} is damaged: {context.problem}"


def _matching(segments: Sequence[Segment], hashes: Mapping[int, str]) -> int:
    """How many leading segments hold a prefix of the ids that were hashed."""
    for count in range(len(segments), 0, -1):
        if hashes.get(segments[count - 1].end) == segments[count - 1].prefix_hash:
            return count
    return 0
