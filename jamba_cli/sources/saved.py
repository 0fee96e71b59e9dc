"""A document as JSON and back, so that what was read can be asked without its sources.

The same document gives the same bytes.  What comes back is checked field by field: a file that is
not exactly such a document is an InputError, never half a document.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, TypeVar

from jamba_cli.sources.document import Document, Part, Skipped
from runtime.errors import InputError

FORMAT = "jamba-document-1"

_T = TypeVar("_T", Part, Skipped)


def to_json(document: Document) -> bytes:
    """The document as UTF-8 JSON."""
    value = {"format": FORMAT, **asdict(document)}
    # Undecodable bytes of file names are kept as lone surrogates, which only ASCII JSON can hold.
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode("ascii")


def from_json(data: bytes) -> Document:
    """The document of `to_json`; raises InputError for anything else."""
    try:
        value = json.loads(data)
        if value.pop("format") != FORMAT:
            raise ValueError("another format")
        document = Document(
            parts=tuple(_record(Part, item) for item in value.pop("parts")),
            skipped=tuple(_record(Skipped, item) for item in value.pop("skipped")),
            warnings=tuple(_text(item) for item in value.pop("warnings")),
            outline=_text(value.pop("outline")),
            metadata={_text(k): _text(v) for k, v in value.pop("metadata").items()},
        )
        if value:
            raise ValueError(f"unknown: {', '.join(value)}")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(
            "the saved document is damaged or of another version of jamba",
            hint="read its sources again",
        ) from error
    return document


def _record(kind: type[_T], value: Mapping[str, Any]) -> _T:
    types = {item.name: str(item.type) for item in fields(kind)}
    if value.keys() != types.keys():
        raise ValueError(f"{kind.__name__} has other fields")
    for name, item in value.items():
        wanted = int if types[name].startswith("int") else str
        if type(item) is not wanted and not (item is None and types[name].endswith("None")):
            raise ValueError(f"{kind.__name__}.{name} is {type(item).__name__}")
    return kind(**value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("not text")
    return value
