"""A document larger than the context is read whole in windows, or refused, or dropped by name."""

from __future__ import annotations

import pytest

from jamba_cli.prompts import question_task
from jamba_cli.reader import Reader
from jamba_cli.sources.document import Document, Part
from jamba_cli.windows import plan
from runtime.errors import BudgetError
from tests.tiny_model import write_model

TASK = question_task("what?")
LIMIT = 1400


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    return Reader(str(write_model(tmp_path_factory.mktemp("m") / "tiny")))


def numbered(lines: int, start: int = 1) -> str:
    return "".join(f"line {number} of the text\n" for number in range(start, start + lines))


def test_what_fits_is_read_whole(reader):
    document = Document((Part("a.txt", numbered(10)),))
    reading = plan(document, TASK, reader, LIMIT, "windows")
    assert reading.windows == (document,)
    assert reading.tokens == len(reader.prompt(document, TASK).ids) <= LIMIT


@pytest.mark.parametrize("sizes", [[200], [30, 1, 90, 3], [1] * 80])
def test_windows_fit_and_hold_every_line_once_with_its_own_number(reader, sizes):
    parts = tuple(Part(f"f{i}.txt", numbered(n)) for i, n in enumerate(sizes))
    reading = plan(Document(parts, outline="f0.txt\n" * 30), TASK, reader, LIMIT, "windows")
    assert len(reading.windows) > 1
    seen = []
    for window in reading.windows:
        assert len(reader.prompt(window, TASK).ids) <= LIMIT
        for part in window.parts:
            for offset, line in enumerate(part.text.splitlines()):
                number = part.first_line + offset
                assert line == f"line {number} of the text"
                seen.append((part.path, number))
    assert seen == [(f"f{i}.txt", k + 1) for i, n in enumerate(sizes) for k in range(n)]


def test_pages_keep_their_numbers(reader):
    parts = tuple(Part("r.pdf", numbered(20), page=n) for n in range(1, 9))
    reading = plan(Document(parts), TASK, reader, LIMIT, "windows")
    pages = [part.page for window in reading.windows for part in window.parts]
    assert sorted(set(pages)) == list(range(1, 9))
    assert pages == sorted(pages)


def test_one_endless_line_is_cut_and_nothing_of_it_lost(reader):
    text = "".join(f"{n}," for n in range(3000))
    reading = plan(Document((Part("a.csv", text),)), TASK, reader, LIMIT, "windows")
    assert "".join(p.text for window in reading.windows for p in window.parts) == text
    assert all(p.first_line == 1 for window in reading.windows for p in window.parts)
    assert all(len(reader.prompt(window, TASK).ids) <= LIMIT for window in reading.windows)


def test_fail_refuses_with_the_numbers(reader):
    document = Document((Part("a.txt", numbered(200)),))
    tokens = len(reader.prompt(document, TASK).ids)
    with pytest.raises(BudgetError, match=f"{tokens:,} tokens do not fit the {LIMIT:,}"):
        plan(document, TASK, reader, LIMIT, "fail")


def test_drop_leaves_out_whole_parts_and_names_each(reader):
    parts = (
        Part("small.txt", numbered(5)),
        Part("large.txt", numbered(90)),
        Part("r.pdf", numbered(6), page=1),
        Part("r.pdf", numbered(95), page=2),
    )
    reading = plan(Document(parts), TASK, reader, LIMIT, "drop")
    [window] = reading.windows
    assert window.parts == (parts[0], parts[2])
    assert [name.split(" (")[0] for name in reading.dropped] == ["large.txt", "r.pdf p. 2"]
    assert len(reader.prompt(window, TASK).ids) <= LIMIT
    with pytest.raises(BudgetError, match="no file or page fits"):
        plan(Document(parts[1:2]), TASK, reader, LIMIT, "drop")


def test_a_context_without_room_is_refused(reader):
    with pytest.raises(BudgetError, match="no room"):
        plan(Document((Part("a.txt", numbered(50)),)), TASK, reader, 260, "windows")
