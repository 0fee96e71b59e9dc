"""Documents in all the shapes that the command line reads, made from corpus texts."""

from __future__ import annotations

import random
import re
import textwrap
from collections.abc import Sequence
from typing import Any

from runtime.distill.corpus import Text
from runtime.distill.layout import DocumentLike, Layout

_LANGUAGES = {
    "py": "python",
    "js": "javascript",
    "ts": "typescript",
    "go": "go",
    "rs": "rust",
    "md": "markdown",
    "rst": "rst",
}
_STEMS = (
    "report paper thesis handbook manual guide notes minutes contract policy survey study review "
    "proposal specification invoice article chapter lecture memo brief plan audit overview "
    "appendix annual-report user-guide white_paper final_draft meeting-notes requirements design"
)
_NAMES = _STEMS.split()
_FOLDERS = ["", "", "", "docs/", "papers/", "reports/2024/", "Downloads/", "inbox/", "./", "a/b/"]


class DocumentMaker:
    """Makes documents of about a given number of characters."""

    def __init__(self, layout: Layout, texts: Sequence[Text], rng: random.Random) -> None:
        self.layout, self.rng = layout, rng
        self.writing = [text for text in texts if text.kind != "code" and _is_prose(text)]
        self.by_kind: dict[str, list[Text]] = {}
        for text in self.writing:
            self.by_kind.setdefault(text.kind, []).append(text)
        self.repos: dict[str, list[Text]] = {}
        for text in texts:
            if text.kind == "code":
                self.repos.setdefault(text.source, []).append(text)

    def file_name(self, suffix: str) -> str:
        """A plausible path."""
        rng = self.rng
        stem = rng.choice(_NAMES)
        if rng.random() < 0.4:
            stem += rng.choice(["-", "_"]) + rng.choice(["v2", "2023", "final", "3", "draft", "b"])
        return rng.choice(_FOLDERS) + stem + suffix

    def passage(self, chars: int) -> str:
        """A stretch of some prose or documentation, from a paragraph's start."""
        kind = "prose" if self.rng.random() < 0.45 and "prose" in self.by_kind else "docs"
        pool = self.by_kind.get(kind) or self.writing
        pieces: list[str] = []
        total = 0
        while total < chars:
            text = self.rng.choice(pool).text
            at = 0
            if len(text) > chars and self.rng.random() < 0.7:
                at = text.find("\n\n", self.rng.randrange(len(text) - chars + 1)) + 2
                at = at if at > 1 else 0
            pieces.append(text[at : at + chars - total].strip())
            total += len(pieces[-1]) + 200
        return cut_at_line("\n\n".join(pieces), chars)

    def pdf(self, chars: int, path: str | None = None, first_page: int = 1) -> list[Any]:
        """Pages of one PDF: no heading marks, mostly wrapped lines."""
        rng = self.rng
        text = re.sub(r"^#+ ", "", self.passage(chars), flags=re.M)
        width = rng.choice([0, 0, 64, 76, 88, 100])
        text = wrap(text, width) if width else text
        size, path = rng.randint(1200, 3600), path or self.file_name(".pdf")
        pages, page = [], first_page
        while text:
            piece = cut_at_line(text, size)
            pages.append(self.layout.part(path=path, text=piece.strip("\n") + "\n", page=page))
            text = text[len(piece) :].strip("\n")
            page += 1
        return pages

    def pdf_document(self, chars: int) -> DocumentLike:
        """One PDF, or a few; a window of a longer one begins later."""
        rng = self.rng
        if rng.random() < 0.8 or chars < 3000:
            first = rng.randint(2, 60) if rng.random() < 0.25 else 1
            return self.layout.document(self.pdf(chars, first_page=first))
        count = rng.randint(2, 4)
        parts: list[Any] = []
        for _ in range(count):
            parts += self.pdf(chars // count, self.file_name(".pdf"))
        return self.layout.document(parts)

    def text_document(self, chars: int) -> DocumentLike:
        """One or a few Markdown or plain-text files."""
        rng = self.rng
        count = 1 if rng.random() < 0.7 or chars < 3000 else rng.randint(2, 4)
        parts = []
        for _ in range(count):
            plain = rng.random() < 0.4
            path = self.file_name(".txt" if plain else ".md") if rng.random() < 0.9 else "stdin"
            text = self.passage(chars // count)
            if plain:
                text = re.sub(r"^#+ ", "", text, flags=re.M)
            if rng.random() < 0.4:
                text = wrap(text, rng.choice([72, 79, 96]))
            language = None if plain else "markdown"
            parts.append(self.layout.part(path=path, text=text + "\n", language=language))
        paths = [part.path for part in parts]
        outline = self.layout.file_tree(paths) if count > 1 and len(set(paths)) == count else ""
        return self.layout.document(parts, outline)

    def repository(self, chars: int) -> DocumentLike:
        """Neighbouring files of one package, sometimes with a README first."""
        rng = self.rng
        names = list(self.repos)
        weights = [min(len(self.repos[name]), 80) for name in names]
        files = self.repos[rng.choices(names, weights)[0]]
        at = rng.randrange(len(files))
        chosen: list[Text] = []
        total = 0
        for text in files[at:] + files[:at]:
            size = len(text.text)
            if total + min(size, chars) > chars * 1.05 and chosen:
                if rng.random() < 0.5 and total > chars * 0.7:
                    break
                if size > 3 * (chars - total):
                    continue
            chosen.append(text)
            total += size
            if total >= chars:
                break
        readme = [text for text in files if text.path.lower().endswith(("readme.md", "readme.rst"))]
        if readme and readme[0] not in chosen and rng.random() < 0.7:
            chosen.insert(0, readme[0])
        return self._files(chosen, chars)

    def _files(self, chosen: list[Text], chars: int) -> DocumentLike:
        """Files in the order of their paths or, as in a git work tree, of their last commits."""
        drop = self.rng.choice([0, 0, 1, 2])
        parts, total, seen = [], 0, set()
        by_path = self.rng.random() < 0.5
        changed = {id(text): 0.0 if by_path else self.rng.random() for text in chosen}

        def place(text: Text) -> tuple[bool, float, str]:
            return "readme" not in text.path.lower(), changed[id(text)], text.path

        for text in sorted(chosen, key=place):
            path = "/".join(text.path.split("/")[drop:]) or text.path.split("/")[-1]
            room = chars - total
            if room < 200 or path in seen:
                continue
            body = text.text if len(text.text) <= room else cut_at_line(text.text, room)
            if not body.strip():
                continue
            seen.add(path)
            total += len(body)
            language = _LANGUAGES.get(path.rpartition(".")[2])
            parts.append(self.layout.part(path=path, text=body, language=language))
        return self.layout.document(parts, self.layout.file_tree([part.path for part in parts]))


def _is_prose(text: Text) -> bool:
    """Whether a page holds running text, not signatures, tables, indexes or source code."""
    plain = text.text
    listing = re.search(r"_modules|_sources|genindex|modindex", text.path)
    return plain.count(". ") >= 5 and len(plain) > 90 * (plain.count("\n\n") + 1) and not listing


def cut_at_line(text: str, chars: int) -> str:
    """The first `chars` characters, up to a line's end where there is one."""
    if len(text) <= chars:
        return text
    cut = text.rfind("\n", 0, chars)
    if cut < chars // 2:
        after = text.find("\n", chars)
        cut = after if 0 < after < chars * 1.3 + 300 else text.rfind(" ", 0, chars)
    return text[: cut + 1] if cut > 0 else text[:chars]


def wrap(text: str, width: int) -> str:
    """Wraps the long lines of running text."""
    lines = []
    for line in text.split("\n"):
        prose = len(line) > width and not line.startswith((" ", "\t", "|"))
        lines += textwrap.wrap(line, width, break_long_words=False) if prose else [line]
    return "\n".join(lines)
