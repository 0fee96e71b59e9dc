"""Packages to text: formats of their own, long texts, and the order of a repository's files."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zlib
from pathlib import Path

from runtime.distill import books, corpus
from runtime.distill.examples import ExampleMaker
from runtime.distill.layout import Layout
from runtime.distill.sources import SOURCES, Source
from tests.distill.corpus_texts import texts


def package(folder: Path, name: str, files: dict[str, bytes]) -> None:
    with tarfile.open(folder / f"{name}-1.0.tar.gz", "w:gz") as archive:
        for path, data in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def test_a_long_text_comes_whole_in_pieces(tmp_path: Path) -> None:
    lines = [f"Line {number} of a novel that is long enough." for number in range(9000)]
    files = {
        "data/novel.txt.dz": gzip.compress("\n".join(lines).encode()),
        "data/notes.txt": b"Other text that nobody asked for. " * 20,
    }
    package(tmp_path, "novel", files)
    source = Source("novel", "pypi", "prose", "public domain", paths=r"\.dz$")
    read = corpus.read_source(tmp_path, source)
    assert max(len(text.text) for text in read) <= corpus.MAX_CHARS
    assert "\n".join(text.text for text in read).split("\n") == lines


def test_r_lines_reads_every_object_of_a_lazy_load_database() -> None:
    def item(*strings: str) -> bytes:
        data = b"X\n" + b"".join(
            b"\x00\x04\x00\x09" + len(text).to_bytes(4, "big") + text.encode() for text in strings
        )
        return len(data).to_bytes(4, "big") + zlib.compress(data)

    data = item("EMMA", "", "Emma Woodhouse, handsome,", "clever, and rich") + item("PERSUASION")
    assert books.r_lines(data) == "EMMA\n\nEmma Woodhouse, handsome, clever, and rich PERSUASION"


def test_verses_become_chapters() -> None:
    verses = [("Ruth", 1, "Now it came"), ("Ruth", 1, "to pass."), ("Ruth", 2, "And Naomi.")]
    rows = [{"book": book, "chapter": number, "text": text} for book, number, text in verses]
    lines = "\n".join(map(json.dumps, rows)).encode()
    expected = "# Ruth 1\n\nNow it came to pass.\n\n# Ruth 2\n\nAnd Naomi."
    assert books.verse_lines(lines) == expected
    chapters = [
        {"reference": f"Ruth {n}", "verses": [{"text": row[2]} for row in verses if row[1] == n]}
        for n in (1, 2)
    ]
    tree = json.dumps({"books": [{"book": "Ruth", "chapters": chapters}]}).encode()
    assert books.verse_tree(tree) == expected


def test_osis_text_reads_every_stream_and_leaves_the_markup_out() -> None:
    first = '<title type="x">Psalm 1</title> <div sID="1"/> Blessed <w lemma="H1">is</w> the man'
    second = '<note>Or, happy</note> &amp; his house.<div eID="1"/> <div sID="2"/> The next.'
    data = zlib.compress(first.encode()) + b"\x00x" + zlib.compress(second.encode())
    assert corpus.tidy(books.osis_text(data)) == (
        "# Psalm 1\n\nBlessed is the man & his house.\n\nThe next."
    )


def test_no_package_is_trained_on_and_held_out() -> None:
    held_out = {source.name for source in SOURCES if source.held_out}
    assert not held_out & {source.name for source in SOURCES if not source.held_out}


def test_repositories_come_in_both_orders_and_with_the_tree_at_either_end() -> None:
    maker = ExampleMaker(Layout(), texts(), seed=2)
    sorted_ones = trees_behind = 0
    for _ in range(60):
        document = maker.documents.repository(6000)
        paths = [part.path for part in document.parts]
        sorted_ones += paths == sorted(paths)
        first, last = (maker.layout.prefix(document, outline_last=at) for at in (False, True))
        assert len(first) == len(last)
        assert last.endswith(document.outline.rstrip())
        assert first.index(document.outline.rstrip()) < first.index("[" + paths[0])
        example = maker.make(1500)
        outline = example.reading.document.outline.rstrip() if example else ""
        trees_behind += bool(outline) and example is not None and example.prefix.endswith(outline)
    assert 20 < sorted_ones < 50
    assert 0 < trees_behind < 30
