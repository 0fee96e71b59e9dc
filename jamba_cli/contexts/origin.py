"""Where a saved context comes from: what was typed, where, and what each source held."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from jamba_cli.contexts.marks import Place
from jamba_cli.sources.document import Document
from jamba_cli.sources.options import ReadOptions
from runtime.errors import InputError

_OPTIONS = ("include", "exclude", "pages", "pdf_order", "keep_headers", "max_file_bytes")


@dataclass(frozen=True, slots=True)
class Origin:
    """The sources of a command as they were typed, and what they need to be read again."""

    arguments: tuple[str, ...]
    directory: str
    options: Mapping[str, Any] = field(default_factory=dict)
    password_file: str | None = None

    @classmethod
    def of(
        cls, sources: Sequence[str] | None, how: ReadOptions, password_file: Path | None
    ) -> Origin:
        """The origin of what this command reads."""
        options = {name: getattr(how, name) for name in _OPTIONS}
        file = None if password_file is None else str(password_file)
        return cls(tuple(sources or ("-",)), str(Path.cwd()), options, file)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Origin:
        """The origin of `as_json`; raises InputError for anything else."""
        try:
            options = {name: value["options"][name] for name in _OPTIONS}
            options |= {name: tuple(options[name]) for name in ("include", "exclude")}
            return cls(
                tuple(map(str, value["arguments"])),
                str(value["directory"]),
                options,
                value["password_file"],
            )
        except (KeyError, TypeError) as error:
            raise InputError(
                "this context does not say how it was read",
                hint="name its sources again: jamba ingest SRC... --name NAME",
            ) from error

    def as_json(self) -> dict[str, Any]:
        """What is kept beside a context."""
        return asdict(self)

    def read_options(self, base: ReadOptions) -> ReadOptions:
        """The reading options; only how to get a password is taken from `base`."""
        return replace(base, **self.options)


def source_records(
    document: Document, places: Sequence[Place], tokens: int
) -> list[dict[str, Any]]:
    """Each file of a document: its path, the SHA-256 of its text as it was read, its tokens.

    `tokens` is the length of the prompt; the tokens of a file are [first, end) in it, None where
    places are not known.
    """
    digests: dict[str, Any] = {}
    for part in document.parts:
        digest = digests.setdefault(part.path, hashlib.sha256())
        digest.update(part.text.encode("utf-8", "surrogatepass"))
    paths = {part.name: part.path for part in document.parts}
    spans: dict[str, list[int]] = {}
    ends = [place.position for place in places[1:]] + [tokens]
    for place, end in zip(places, ends, strict=bool(places)):
        span = spans.setdefault(paths[place.label], [place.position, end])
        span[1] = end
    return [
        {"path": path, "sha256": digest.hexdigest(), "tokens": spans.get(path)}
        for path, digest in digests.items()
    ]
