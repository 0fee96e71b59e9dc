"""What the tests of folders share: making them, and reading them through the public door."""

import subprocess
from pathlib import Path

from jamba_cli.sources.document import Document
from jamba_cli.sources.resolve import ReadOptions, read_sources


def write(root: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout


def read(root: Path, **options) -> Document:
    return read_sources([str(root)], ReadOptions(**options))


def paths(document: Document) -> list[str]:
    return [part.path for part in document.parts]


def reasons(document: Document) -> dict[str, str]:
    return {item.path: item.reason for item in document.skipped}
