"""Jupyter notebooks: one part a cell, text outputs capped, images dropped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from jamba_cli.sources.document import Part
from jamba_cli.sources.html import strip_html
from jamba_cli.sources.names import plural
from jamba_cli.sources.text import clean, decode, fold_base64

MAX_OUTPUT_CHARS = 2000
"""Of a cell's text output, this much is kept: three quarters from its start, the rest its end."""


class NotANotebookError(ValueError):
    """The bytes are not a notebook's JSON; the message says why."""


def notebook_parts(data: bytes, path: str) -> list[Part]:
    """The cells that hold anything; raises NotANotebookError.

    Cells count from 1 as they are shown, empty ones included.
    """
    book = _load(data)
    language = _language(book)
    parts = []
    for number, cell in enumerate(_cells(book), start=1):
        kind = cell.get("cell_type")
        text, _ = fold_base64(clean(_joined(cell.get("source", cell.get("input", "")))))
        if kind == "heading":  # format 3
            text = f"# {text}"
        outputs = "" if kind != "code" else "\n".join(_outputs(cell))
        if outputs:
            text = f"{text.rstrip()}\n\nOutput:\n{outputs}"
        if text.strip():
            label = {"code": language, "markdown": "markdown", "heading": "markdown"}
            parts.append(Part(path, text, cell=number, language=label.get(str(kind))))
    return parts


def _load(data: bytes) -> dict[str, Any]:
    try:
        book = json.loads(decode_json(data))
    except RecursionError as error:
        raise NotANotebookError("its JSON is nested too deeply") from error
    except ValueError as error:
        raise NotANotebookError("its JSON is damaged") from error
    if not isinstance(book, dict) or not isinstance(
        book.get("cells", book.get("worksheets")), list
    ):
        raise NotANotebookError("it has no cells")
    return book


def decode_json(data: bytes) -> str:
    """JSON text of bytes; unlike `decode` it leaves strings as they are (images are dropped)."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return decode(data).text
    return data.decode("utf-8-sig", "replace")


def _language(book: dict[str, Any]) -> str | None:
    metadata = _dict(book.get("metadata"))
    for holder, key in (("language_info", "name"), ("kernelspec", "language")):
        name = _dict(metadata.get(holder)).get(key)
        if isinstance(name, str) and name.isprintable():
            return name.lower()
    return "python"


def _cells(book: dict[str, Any]) -> Iterator[dict[str, Any]]:
    sheets = [book] if "cells" in book else book["worksheets"]
    for sheet in sheets:
        yield from map(_dict, _list(_dict(sheet).get("cells")))


def _outputs(cell: dict[str, Any]) -> Iterator[str]:
    images = 0
    texts: list[str] = []
    for output in map(_dict, _list(cell.get("outputs"))):
        text, image = _output_text(output)
        images += image
        if text.strip():
            texts.append(text.rstrip())
    if texts:
        yield _capped("\n".join(texts))
    if images:
        yield f"[{plural(images, 'image')} left out]"


def _output_text(output: dict[str, Any]) -> tuple[str, bool]:
    if output.get("output_type") in ("error", "pyerr"):
        trace = "\n".join(map(str, _list(output.get("traceback"))))
        return clean(trace) or f"{output.get('ename')}: {clean(str(output.get('evalue')))}", False
    bundle = _dict(output.get("data")) or output  # format 3 has the types in the output itself
    image = any(str(kind).startswith(("image/", "png", "jpeg", "svg")) for kind in bundle)
    for key in ("text", "text/plain", "text/markdown", "text/latex"):
        text = clean(_joined(bundle.get(key, "")))
        if text.strip():
            return text, image
    page = clean(_joined(bundle.get("text/html", bundle.get("html", ""))))
    return (strip_html(page).text if page else ""), image


def _capped(text: str) -> str:
    if len(text) <= MAX_OUTPUT_CHARS:
        return text
    head, tail = MAX_OUTPUT_CHARS * 3 // 4, MAX_OUTPUT_CHARS // 4
    left_out = len(text) - head - tail
    note = f"[... {plural(left_out, 'character')} of output left out ...]"
    return f"{text[:head]}\n{note}\n{text[-tail:]}"


def _joined(value: Any) -> str:
    if isinstance(value, list):
        return "".join(piece for piece in value if isinstance(piece, str))
    return value if isinstance(value, str) else ""


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
