"""The tree of files at the top of a prompt, compact and bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from jamba_cli.sources.names import plural

MAX_LINES = 200
INDENT = "  "


@dataclass(slots=True)
class _Folder:
    folders: dict[str, _Folder] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    total: int = 0  # files at any depth
    open: bool = False


def file_tree(paths: Iterable[str]) -> str:
    """An indented tree of shown paths; "" for fewer than two.

    With more than 200 files the deeper folders are shown by their number of files, and the first
    line says so.
    """
    names = list(dict.fromkeys(paths))
    if len(names) < 2:
        return ""
    root = _build(names)
    complete = len(names) <= MAX_LINES
    if complete:
        _open_all(root)
    else:
        _open_breadth_first(root)
    head = f"{plural(len(names), 'file')}:"
    if not complete:
        head = f"{plural(len(names), 'file')} (large folders only by their number of files):"
    return "\n".join([head, *_lines(root, "")])


def _build(names: Iterable[str]) -> _Folder:
    root = _Folder()
    for name in names:
        absolute = name.startswith("/")
        *folders, file = name.lstrip("/").split("/")
        if absolute and folders:
            folders[0] = "/" + folders[0]
        here = root
        here.total += 1
        for folder in folders:
            here = here.folders.setdefault(folder, _Folder())
            here.total += 1
        here.files.append(file)
    return root


def _open_all(root: _Folder) -> None:
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        folder.open = True
        waiting += folder.folders.values()


def _open_breadth_first(root: _Folder) -> None:
    root.open = True
    lines = len(root.folders) + len(root.files)
    waiting = deque(root.folders.values())
    while waiting:
        folder = waiting.popleft()
        more = len(folder.folders) + len(folder.files)
        if lines + more <= MAX_LINES:
            lines += more
            folder.open = True
            waiting += folder.folders.values()


def _lines(root: _Folder, margin: str) -> list[str]:
    lines: list[str] = []
    # (folder, its label, margin): a stack, since a hostile tree is deeper than Python's recursion.
    waiting: list[tuple[_Folder | None, str, str]] = [(root, "", margin)]
    while waiting:
        folder, label, margin = waiting.pop()
        if folder is None:
            lines.append(margin + label)
            continue
        while folder.open and label and not folder.files and len(folder.folders) == 1:
            ((name, folder),) = folder.folders.items()
            label = f"{label}{name}/"
        if label:
            closed = "" if folder.open else f" ({plural(folder.total, 'file')})"
            lines.append(f"{margin}{label}{closed}")
            margin += INDENT
        if folder.open:
            waiting += reversed(_children(folder, margin))
    return lines


def _children(folder: _Folder, margin: str) -> list[tuple[_Folder | None, str, str]]:
    files = folder.files
    if len(files) > MAX_LINES:
        files = [*files[:MAX_LINES], f"... and {plural(len(files) - MAX_LINES, 'more file')}"]
    shown: list[tuple[_Folder | None, str, str]] = [(None, file, margin) for file in files]
    return shown + [(inner, f"{name}/", margin) for name, inner in sorted(folder.folders.items())]
