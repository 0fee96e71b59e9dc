"""A document kept as JSON comes back as it was, or is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jamba_cli.sources.document import Document, Part, Skipped
from jamba_cli.sources.saved import from_json, to_json
from runtime.errors import InputError

TEXT = st.text(st.characters(exclude_categories=[]), max_size=30)
NUMBER = st.none() | st.integers(1, 10**6)
PARTS = st.builds(Part, TEXT, TEXT, st.integers(1, 10**6), NUMBER, st.none() | TEXT, NUMBER)
DOCUMENTS = st.builds(
    Document,
    st.lists(PARTS, max_size=4).map(tuple),
    st.lists(st.builds(Skipped, TEXT, TEXT), max_size=3).map(tuple),
    st.lists(TEXT, max_size=3).map(tuple),
    TEXT,
    st.dictionaries(TEXT, TEXT, max_size=3),
)
ONE = Document((Part("a.py", "x = 1\n", language="python"),), (Skipped("b", "binary"),))


@given(DOCUMENTS)
def test_a_document_comes_back_as_it_was(document):
    assert from_json(to_json(document)) == document


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v.update(format="jamba-document-2"),
        lambda v: v.pop("parts"),
        lambda v: v.update(more=1),
        lambda v: v["parts"][0].update(page="3"),
        lambda v: v["parts"][0].update(first_line=True),
        lambda v: v["parts"][0].pop("text"),
        lambda v: v["parts"].append(3),
        lambda v: v["skipped"][0].update(reason=None),
        lambda v: v.update(metadata=[]),
        lambda v: v.update(outline=None),
    ],
)
def test_anything_else_is_refused(change):
    value = json.loads(to_json(ONE))
    change(value)
    with pytest.raises(InputError, match="damaged or of another version"):
        from_json(json.dumps(value).encode())


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'"x"', b"\xff", b"[" * 100_000])
def test_what_is_no_document_is_refused(data):
    with pytest.raises(InputError):
        from_json(data)
