"""Sources on the command line -> one Document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from jamba_cli.sources.classify import NameVerdict
from jamba_cli.sources.document import Document, Part, Skipped
from jamba_cli.sources.labels import Label, choose_labels
from jamba_cli.sources.locate import (
    FileSource,
    FolderSource,
    Source,
    StdinSource,
    UrlSource,
    locate,
)
from jamba_cli.sources.names import plural, safe_name
from jamba_cli.sources.openfile import LeftOutError
from jamba_cli.sources.options import ReadOptions, ReadProgress
from jamba_cli.sources.ordering import prompt_order
from jamba_cli.sources.read import Job, Reader
from jamba_cli.sources.repo import FolderPlan, plan_folder
from jamba_cli.sources.tree import file_tree
from runtime.errors import InputError, UsageError

# Reasons against which --include helps; a binary file stays binary.
_OVERRULED = {
    NameVerdict.CREDENTIAL.value,
    NameVerdict.LOCK.value,
    NameVerdict.MINIFIED.value,
    NameVerdict.SOURCE_MAP.value,
    NameVerdict.GENERATED.value,
    "vendored",
    "vendored folder",
}

__all__ = ["ReadOptions", "ReadProgress", "read_sources"]


@dataclass(slots=True)
class _Planned:
    """A source, the files that it gives, and what of them was left out."""

    source: Source
    plan: FolderPlan | None
    jobs: list[tuple[str, Hashable, Job]]  # relative path, identity, what to read
    label: Label = field(default_factory=lambda: Label(""))


def read_sources(
    sources: Sequence[str],
    options: ReadOptions,
    *,
    stdin: BinaryIO | None = None,
    on_progress: Callable[[ReadProgress], None] | None = None,
) -> Document:
    """Everything that the sources hold, in their order.

    Files inside a folder that can't be read become `skipped`, with a warning for PDFs.  Raises
    InputError for a file named itself that can't be read and for a source that gives nothing,
    UsageError for sources and options that contradict each other.
    """
    located = [locate(source) for source in sources]
    if not located:
        raise UsageError("nothing to read", hint="give a file, a folder, - or an http(s) address")
    if sum(isinstance(source, StdinSource) for source in located) > 1:
        raise UsageError("standard input can be read only once", hint="give - one time")
    planned = [_plan(source, options) for source in located]
    labels = choose_labels(
        located, [[(relative, key) for relative, key, _ in one.jobs] for one in planned]
    )
    for one, label in zip(planned, labels, strict=True):
        one.label = label
    repeated = _drop_repeated(planned)
    total = sum(len(one.jobs) for one in planned)
    reader = Reader(options, total, stdin=stdin, on_progress=on_progress)
    documents = [_read(one, reader, only=total == 1) for one in planned]
    reader.finish()
    if options.pages is not None and not reader.saw_pdf:
        raise UsageError("--pages is for PDFs, and none of the sources is one")
    document = documents[0]
    for other in documents[1:]:
        document = document.merged(other)
    outline = "\n\n".join(filter(None, [_tree(document), document.outline]))
    return Document(
        parts=document.parts,
        skipped=document.skipped + repeated,
        warnings=document.warnings,
        outline=outline,
        metadata=document.metadata if total == 1 else {},
    )


def _plan(source: Source, options: ReadOptions) -> _Planned:
    if isinstance(source, FileSource):
        job = Job(path=source.path, named=True, pages=source.pages)
        return _Planned(source, None, [("", (_real(source.path), source.pages), job)])
    if isinstance(source, StdinSource):
        return _Planned(source, None, [("", "stdin", Job(named=True))])
    if isinstance(source, UrlSource):
        job = Job(url=source.url, named=True, pages=source.pages)
        return _Planned(source, None, [("", (source.url, source.pages), job)])
    plan = plan_folder(source.path, options)
    jobs: list[tuple[str, Hashable, Job]] = [
        (
            candidate.relative,
            (str(candidate.path), None),
            Job(
                path=candidate.path,
                included=candidate.included,
                judge_generated=candidate.judge_generated,
            ),
        )
        for candidate in plan.files
    ]
    return _Planned(source, plan, jobs)


def _real(path: Path) -> str:
    try:
        return str(path.resolve())
    except (OSError, RuntimeError):  # a loop of links; opening it tells
        return str(path)


def _drop_repeated(planned: Iterable[_Planned]) -> tuple[Skipped, ...]:
    seen: set[Hashable] = set()
    repeated = []
    for one in planned:
        kept = []
        for job in one.jobs:
            relative, identity, _ = job
            if identity in seen:
                repeated.append(Skipped(one.label.of(relative), "named twice, read once"))
            else:
                seen.add(identity)
                kept.append(job)
        one.jobs = kept
    return tuple(repeated)


def _read(one: _Planned, reader: Reader, *, only: bool) -> Document:
    parts: list[Part] = []
    skipped: list[Skipped] = []
    warnings: list[str] = []
    outlines: list[str] = []
    metadata: dict[str, str] = {}
    if one.plan is not None:
        skipped += [Skipped(one.label.of(item.path), item.reason) for item in one.plan.skipped]
        warnings += [safe_name(warning) for warning in one.plan.warnings]
    for relative, _, job in one.jobs:
        display = one.label.of(relative)
        try:
            document = reader.read(job, display)
        except LeftOutError as error:
            skipped.append(Skipped(display, error.reason))
            continue
        parts += document.parts
        skipped += document.skipped
        warnings += document.warnings
        metadata |= document.metadata
        if document.outline and job.named:
            outlines.append(document.outline if only else f"{display}:\n{document.outline}")
    if one.plan is not None and not parts and (one.jobs or not _all_elsewhere(one)):
        raise _nothing(one, skipped)
    return Document(tuple(parts), tuple(skipped), tuple(warnings), "\n\n".join(outlines), metadata)


def _all_elsewhere(one: _Planned) -> bool:
    return one.plan is not None and bool(one.plan.files)


def _nothing(one: _Planned, skipped: Sequence[Skipped]) -> InputError:
    source = one.source
    shown = safe_name(source.typed) if isinstance(source, FolderSource) else one.label.name
    if not skipped:
        return InputError(
            f"{shown}: no files in this folder",
            hint="files that .gitignore or .jambaignore name are brought back by --include 'GLOB'",
        )
    reasons = Counter(map(_kind, skipped))
    listed = ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common(5))
    hint = "text, code, notebooks, HTML and PDF are read"
    overruled = next((item.path for item in skipped if _kind(item) in _OVERRULED), None)
    if overruled is not None:
        hint = f"name a file itself, or bring files back, for example with --include '{overruled}'"
    return InputError(f"{shown}: nothing to read; left out: {listed}", hint=hint)


def _kind(item: Skipped) -> str:
    return item.reason.partition(" (")[0]


def _tree(document: Document) -> str:
    pages = Counter(part.path for part in document.parts if part.page is not None)
    # By name, whatever was changed last: or the tree would differ after every edit of a file.
    paths = sorted({part.path for part in document.parts}, key=prompt_order)
    return file_tree(
        f"{path} ({plural(pages[path], 'page')})" if path in pages else path for path in paths
    )
