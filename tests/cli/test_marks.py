"""Places of files and pages are counted on the prompt's own tokens."""

from __future__ import annotations

import pytest

from jamba_cli.contexts.marks import places
from jamba_cli.prompts import prefix
from jamba_cli.reader import Reader
from jamba_cli.sources.document import Document, Part
from tests.tiny_model import write_model

CODE = "def café(x):\n    return '漢字 😀'  # naïve\n" * 30
DOCUMENT = Document(
    (
        Part("src/a.py", CODE),
        Part("empty.txt", "  \n"),
        Part("nb.ipynb", "plot(x)", cell=2),
        Part("r.pdf", "Page one.\n", page=1),
        Part("r.pdf", "Page two ends without a line end", page=2),
    ),
    outline="4 files:\nsrc/a.py\n",
)
NAMES = ["src/a.py", "nb.ipynb cell 2", "r.pdf p. 1", "r.pdf p. 2"]


@pytest.fixture(scope="module")
def readers(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return [
        Reader("nano"),
        *(Reader(str(write_model(root / s, style=s))) for s in ("quote", "prose")),
    ]


def test_each_part_begins_where_its_reference_stands(readers):
    for reader in readers:
        ids = reader.prompt(DOCUMENT, "").shared
        found = places(DOCUMENT, ids, reader.tokenizer, style=reader.style)
        assert [place.label for place in found] == NAMES
        for place in found:
            rest = reader.tokenizer.decode(ids[place.position :])
            before = reader.tokenizer.decode(ids[: place.position])
            reference = place.label.replace("src/a.py", "src/a.py:1")
            # A token that reaches across the border is after the place.
            assert rest.lstrip("\n").startswith(f"[{reference}]\n")
            assert f"[{reference}]" not in before


def test_the_same_part_in_front_gives_the_same_place_whatever_follows(readers):
    shorter = Document(DOCUMENT.parts[:3], outline=DOCUMENT.outline)
    for reader in readers:
        if reader.style == "quote":
            both = [
                places(d, reader.prompt(d, "").shared, reader.tokenizer, style="quote")
                for d in (DOCUMENT, shorter)
            ]
            assert both[0][:2] == both[1]


def test_without_the_document_in_the_ids_there_are_no_places(readers):
    reader = readers[0]
    ids = reader.tokenizer.encode("something else")
    assert places(DOCUMENT, ids, reader.tokenizer, style="quote") == []


def test_the_prefix_is_what_its_pieces_say(readers):
    text = prefix(DOCUMENT, style="prose")
    assert text.endswith("src/a.py")
    assert text.index("[src/a.py:1]") < text.index("4 files")
