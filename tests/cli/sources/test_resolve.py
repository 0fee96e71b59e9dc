"""Sources of every kind become one document, or one clear error."""

import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from fpdf import FPDF

from jamba_cli.sources import read as reading
from jamba_cli.sources.resolve import ReadOptions, read_sources
from runtime.errors import InputError, UsageError


def pdf_bytes(*pages: str) -> bytes:
    pdf = FPDF()
    for text in pages:
        pdf.add_page()
        pdf.set_font("helvetica", size=12)
        pdf.multi_cell(0, 8, text)
    return bytes(pdf.output())


THREE_PAGES = pdf_bytes(
    "First page about the model.", "Second page about state.", "Third page about memory."
)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def read(*sources, stdin=None, on_progress=None, **options):
    stream = None if stdin is None else io.BytesIO(stdin)
    return read_sources(sources, ReadOptions(**options), stdin=stream, on_progress=on_progress)


def paths(document):
    return list(dict.fromkeys(part.path for part in document.parts))


# Files


def test_a_file_is_shown_as_typed_and_needs_no_tree(here):
    write(here, {"src/a.py": "x = 1\n"})
    for typed in ("src/a.py", "./src/a.py", str(here / "src/a.py")):
        document = read(typed)
        assert paths(document) == ["src/a.py"]
        assert document.parts[0].language == "python"
        assert document.outline == ""


def test_a_named_file_is_read_whatever_it_is(here):
    write(
        here, {"uv.lock": "lock\n", ".env": "KEY=1\n", "a.min.js": "var a\n", "vendor/a.c": "a\n"}
    )
    document = read("uv.lock", ".env", "a.min.js", "vendor/a.c")
    assert paths(document) == ["uv.lock", ".env", "a.min.js", "vendor/a.c"]
    assert document.skipped == ()


def test_a_named_link_is_followed(here):
    write(here, {"a.py": "x = 1\n"})
    (here / "link.py").symlink_to("a.py")
    assert paths(read("link.py")) == ["link.py"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "a.txt: the file is empty"),
        (b" \n\n", "a.txt: the file is empty"),
        (b"ab\0cd", "a.txt: a binary file, not text"),
    ],
)
def test_a_named_file_without_text_is_an_error(here, content, message):
    write(here, {"a.txt": content})
    with pytest.raises(InputError) as caught:
        read("a.txt")
    assert caught.value.message == message


def test_a_named_file_over_the_bound_is_refused_unread(here):
    with (here / "huge.txt").open("wb") as file:
        file.write(b"text\n" * 2000)
        file.truncate(5 * 2**30)
    with pytest.raises(InputError, match=r"huge\.txt: too large \(5 GiB, the limit is 256 MiB\)"):
        read("huge.txt")


def test_all_text_together_is_bounded(here, monkeypatch):
    write(here, {"a.txt": "x" * 60, "b.txt": "x" * 60})
    monkeypatch.setattr(reading, "MAX_TOTAL_BYTES", 100)
    with pytest.raises(InputError, match=r"more than 100 B of text \(at b\.txt\)"):
        read(".")


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("READM.md", "did you mean README.md?"),
        ("readme.MD", "did you mean README.md?"),
        ("sub/helo.py", "did you mean sub/hello.py?"),
        ("zzzz", "looked in "),
        ("README.md/x", "looked in "),
        ("a.txt#3-10", "looked in "),
    ],
)
def test_a_missing_path_suggests_a_near_one(here, typed, hint):
    write(here, {"README.md": "x\n", "sub/hello.py": "x\n"})
    with pytest.raises(InputError) as caught:
        read(typed)
    assert caught.value.message == f"{typed}: no such file or folder"
    assert caught.value.hint.startswith(hint)


def test_paths_that_no_file_can_have(here):
    with pytest.raises(InputError, match="not a valid path"):
        read("a\0b")
    with pytest.raises(InputError, match="name too long"):
        read("x" * 5000)
    with pytest.raises(UsageError):
        read("")
    with pytest.raises(UsageError):
        read()
    (here / "loop").symlink_to("loop")
    with pytest.raises(InputError, match="loop: too many levels"):
        read("loop")
    (here / "dangling").symlink_to("nowhere")
    with pytest.raises(InputError, match="a link to something that does not exist"):
        read("dangling")


def test_pipes_and_devices_are_refused_at_once(here):
    os.mkfifo(here / "pipe")
    for typed, kind in (("pipe", "a named pipe"), ("/dev/zero", "a device")):
        with pytest.raises(InputError, match=f"it is {kind}") as caught:
            read(typed)
        assert "- < FILE" in caught.value.hint


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="no /dev/fd here")
def test_the_output_of_a_shell_substitution_is_read():
    receiver, sender = os.pipe()
    with os.fdopen(receiver), os.fdopen(sender, "wb") as pipe:

        def send():
            pipe.write(b"from a command\n")
            pipe.close()

        thread = threading.Thread(target=send)
        thread.start()
        document = read(f"/dev/fd/{receiver}")
        thread.join()
    assert [part.text for part in document.parts] == ["from a command\n"]


def test_html_is_stripped_when_named_and_source_in_a_folder(here):
    page = "<!doctype html>\n<html><body>\n<p>Hello</p>\n</body></html>\n"
    write(here, {"a/page.html": page, "b": page, "c.vue": "<template><p>x</p></template>\n"})
    (part,) = read("a/page.html").parts
    assert part.text == "\n\nHello\n\n"
    assert part.reference(part.text.index("Hello")) == "[a/page.html:3]"
    assert read("b").parts[0].text == part.text
    assert "<template>" in read("c.vue").parts[0].text
    (source,) = read("a").parts
    assert (source.text, source.language) == (page, "html")


# PDFs


def test_a_pdf_and_its_page_ranges(here):
    write(here, {"a.pdf": THREE_PAGES, "noname": THREE_PAGES})
    assert [part.page for part in read("a.pdf").parts] == [1, 2, 3]
    assert [part.page for part in read("a.pdf#2-3").parts] == [2, 3]
    assert [part.page for part in read("a.pdf", pages="3").parts] == [3]
    assert [part.page for part in read("a.pdf#1", pages="3").parts] == [1]
    assert [part.page for part in read("noname#2").parts] == [2]
    both = read("a.pdf#1", "a.pdf#3")
    assert [part.page for part in both.parts] == [1, 3]
    assert both.single_pdf
    with pytest.raises(InputError, match="no page 9"):
        read("a.pdf#9")
    with pytest.raises(UsageError, match="not a page range"):
        read("a.pdf#nine")


def test_a_file_of_the_literal_name_comes_before_a_page_range(here):
    write(here, {"a.pdf": THREE_PAGES, "a.pdf#2": "a text\n"})
    assert read("a.pdf#2").parts[0].text == "a text\n"


def test_page_ranges_without_a_pdf_contradict_themselves(here):
    write(here, {"a.txt": "x\n", "d/b.py": "x\n"})
    with pytest.raises(UsageError, match="--pages is for PDFs"):
        read("a.txt", "d", pages="1-2")
    with pytest.raises(UsageError, match="pages can be chosen of PDFs only"):
        read("a.txt#1-2")
    write(here, {"d/c.pdf": THREE_PAGES})
    assert [part.page for part in read("a.txt", "d", pages="2").parts] == [None, None, 2]


def test_a_pdf_in_a_folder_is_read_and_a_broken_one_named(here):
    write(
        here,
        {
            "d/a.py": "x = 1\n",
            "d/good.pdf": THREE_PAGES,
            "d/broken.pdf": b"%PDF-1.7\nnothing\n",
            "d/empty.pdf": b"",
        },
    )
    document = read("d")
    assert paths(document) == ["a.py", "good.pdf"]
    assert document.outline == "2 files:\na.py\ngood.pdf (3 pages)"
    skipped = {item.path: item.reason for item in document.skipped}
    assert set(skipped) == {"broken.pdf", "empty.pdf"}
    assert all(reason and "broken.pdf" not in reason for reason in skipped.values())
    assert any(line.startswith("broken.pdf: left out: ") for line in document.warnings)
    with pytest.raises(InputError, match=r"^d/broken\.pdf: "):
        read("d/broken.pdf")


# Standard input


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"plain\r\ntext\n", "plain\ntext\n"),
        (b"<!DOCTYPE html><p>Hi &amp; bye</p>", "Hi & bye"),
        (b"\x1b[32m+ added\x1b[0m\n", "+ added\n"),
        ("größe".encode("utf-16"), "größe"),
    ],
)
def test_standard_input(data, text):
    (part,) = read("-", stdin=data).parts
    assert (part.path, part.text) == ("stdin", text)


def test_a_pdf_on_standard_input():
    document = read("-", stdin=THREE_PAGES, pages="2")
    assert document.single_pdf
    assert document.parts[0].page == 2
    assert "state" in document.parts[0].text


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"", "standard input is empty"), (b"\x7fELF\0\0", "stdin: a binary file, not text")],
)
def test_standard_input_without_text(data, message):
    with pytest.raises(InputError, match=message):
        read("-", stdin=data)


def test_standard_input_only_once_and_never_from_a_terminal():
    with pytest.raises(UsageError, match="only once"):
        read("-", "-", stdin=b"x\n")

    class Terminal(io.BytesIO):
        def isatty(self):
            return True

    with pytest.raises(UsageError, match="is a terminal"):
        read_sources(["-"], ReadOptions(), stdin=Terminal(b"x"))


def test_the_process_own_standard_input_is_the_default():
    code = (
        "from jamba_cli.sources.resolve import *\n"
        "print(read_sources(['-'], ReadOptions()).parts[0].text)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=b"piped\n", capture_output=True, check=True
    )
    assert done.stdout.strip() == b"piped"


# Several sources


def test_sources_keep_their_order_and_share_one_tree(here):
    write(here, {"z.md": "z\n", "d/a.py": "a\n", "d/b.py": "b\n", "r.pdf": THREE_PAGES})
    document = read("z.md", "d", "-", "r.pdf", stdin=b"s\n")
    assert paths(document) == ["z.md", "a.py", "b.py", "stdin", "r.pdf"]
    assert document.outline.startswith("5 files:\n")
    assert not document.single_pdf


def test_folders_get_their_name_only_where_paths_would_collide(here):
    write(here, {"one/a.py": "1\n", "two/a.py": "2\n", "two/.env": "x\n", "three/b.py": "3\n"})
    document = read("one", "two", "three")
    assert paths(document) == ["one/a.py", "two/a.py", "b.py"]
    assert [item.path for item in document.skipped] == ["two/.env"]
    write(here, {"x/src/a.py": "1\n", "y/src/a.py": "2\n"})
    assert paths(read("x/src", "y/src/")) == ["x/src/a.py", "y/src/a.py"]
    write(here, {"a.py": "0\n"})
    assert paths(read("a.py", "one")) == ["a.py", "one/a.py"]


def test_files_outside_are_shown_by_name_and_by_path_on_collision(here, monkeypatch):
    write(here, {"in/x.txt": "x\n", "p/a.txt": "1\n", "q/a.txt": "2\n"})
    monkeypatch.chdir(here / "in")
    assert paths(read("../p/a.txt")) == ["a.txt"]
    assert paths(read("../p/a.txt", "../q/a.txt")) == ["../p/a.txt", "../q/a.txt"]


def test_what_is_named_twice_is_read_once_and_said(here):
    write(here, {"d/a.py": "a\n", "d/b.py": "b\n"})
    document = read("d", "d/a.py", "./d")
    assert paths(document) == ["a.py", "b.py"]
    assert len(document.skipped) == 3
    assert {item.reason for item in document.skipped} == {"named twice, read once"}


def test_progress_counts_files_and_pages(here):
    write(here, {"a.py": "a\n", "r.pdf": THREE_PAGES})
    seen = []
    read("a.py", "r.pdf", on_progress=seen.append)
    told = [(p.path, p.files_done, p.files_total, p.pages_done, p.pages_total) for p in seen]
    assert told == [
        ("a.py", 0, 2, 0, 0),
        ("r.pdf", 1, 2, 0, 0),
        ("r.pdf", 1, 2, 1, 3),
        ("r.pdf", 1, 2, 2, 3),
        ("r.pdf", 1, 2, 3, 3),
        ("", 2, 2, 0, 0),
    ]


def test_reading_is_the_same_each_time(here):
    write(here, {f"d{n % 7}/f{n}.py": f"x = {n}\n" for n in range(60)})
    assert read(".") == read(".")
