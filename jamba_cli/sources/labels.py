"""The path under which each file is shown: as short as possible, never the same for two files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from jamba_cli.sources.locate import FileSource, FolderSource, Source, UrlSource
from jamba_cli.sources.names import safe_name
from jamba_cli.sources.url import url_name, url_shown


@dataclass(frozen=True, slots=True)
class Label:
    """How one source's files are shown: `prefix` before a folder's, or `name` of a single file."""

    name: str

    def of(self, relative: str) -> str:
        """The shown path of a file; `relative` is "" for a source that is itself a file."""
        return safe_name(
            f"{self.name}/{relative}" if self.name and relative else self.name or relative
        )


def choose_labels(
    sources: Sequence[Source], files: Sequence[Sequence[tuple[str, object]]]
) -> list[Label]:
    """A label for each source; `files` are each source's (relative path, identity).

    A folder's files are shown relative to it.  Only where two different files would look the same
    the folder's name goes before them, and, if that is not enough, the path as it was typed.
    """
    levels = [0] * len(sources)
    choices = [_choices(source) for source in sources]
    while True:
        labels = [choice[level] for choice, level in zip(choices, levels, strict=True)]
        owners: dict[str, set[tuple[int, object]]] = {}
        for index, (label, found) in enumerate(zip(labels, files, strict=True)):
            for relative, identity in found:
                owners.setdefault(label.of(relative), set()).add((index, identity))
        clashing = {
            index
            for owned in owners.values()
            if len({identity for _, identity in owned}) > 1
            for index, _ in owned
        }
        raisable = {index for index in clashing if levels[index] + 1 < len(choices[index])}
        if not raisable:
            return labels
        for index in raisable:
            levels[index] += 1


def _choices(source: Source) -> list[Label]:
    if isinstance(source, FileSource):
        return [Label(_short(source.path)), Label(source.typed)]
    if isinstance(source, FolderSource):
        return [Label(""), Label(source.path.resolve().name), Label(source.typed.rstrip("/"))]
    if isinstance(source, UrlSource):
        return [Label(url_name(source.url)), Label(url_shown(source.url))]
    return [Label("stdin")]


def _short(path: Path) -> str:
    if not path.is_absolute() and ".." not in path.parts:
        return str(PurePath(path))
    # Lexically: a link is shown where it stands, not where it leads.
    here = Path.cwd()
    if path.is_absolute() and path.is_relative_to(here) and ".." not in path.parts:
        return str(path.relative_to(here))
    return path.name or str(path)
