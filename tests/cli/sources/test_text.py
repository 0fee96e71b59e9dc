"""Decoding: any bytes, the same lines, nothing that a terminal would obey."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jamba_cli.sources.convert import convert
from jamba_cli.sources.names import safe_name, size_text
from jamba_cli.sources.openfile import LeftOutError
from jamba_cli.sources.text import clean, decode

UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
BOMS = (b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf", b"\x00\x00\xfe\xff")


def line_ends(data: bytes) -> int:
    return data.count(b"\n") or data.count(b"\r")


@given(st.binary(max_size=400))
@example(b"\xff\xfea")
@example(b"# coding: utf-7\n+AAo-")
@example(b"# coding: unicode_escape\n\\ud800\xff")
@example(b"# coding: rot13\n\xff")
@example(b"# coding: shift_jis\n\x81\n\x81")
@example(b"\xe2\n\xe2\x82\n")
@example(b"a\r\r\nb\rc\n\x1b[2J\x1b]0;t\x07\x9b31m")
def test_any_bytes_become_clean_text_with_the_same_lines(data):
    text = decode(data).text
    assert not UNSAFE.search(text)
    text.encode("utf-8")
    if not data.startswith(BOMS):
        assert text.count("\n") == line_ends(data)


@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=300),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
)
def test_every_unicode_text_keeps_its_lines_in_every_encoding(text, encoding):
    decoded = decode(text.encode(encoding))
    if encoding == "utf-8" and text.startswith("\ufeff"):
        text = text[1:]
    assert decoded.text.count("\n") == (text.count("\n") or text.count("\r"))
    assert not UNSAFE.search(decoded.text)
    if not UNSAFE.search(text) and "\r" not in text:
        assert decoded.text == text


@given(st.text(st.sampled_from("\x1b[]0;m\x07\x08_ab\n\r\x9b\x9d\\"), max_size=60))
def test_taking_escapes_out_never_makes_new_ones(text):
    assert not UNSAFE.search(clean(text))


@pytest.mark.parametrize(
    ("data", "text", "warning"),
    [
        ("größe\n".encode(), "größe\n", None),
        ("größe\n".encode("utf-8-sig"), "größe\n", None),
        ("größe\n".encode("utf-16-le"), "g\u2400r\u2400", "Windows-1252"),
        (b"\xff\xfe" + "größe\n".encode("utf-16-le"), "größe\n", None),
        (b"\xfe\xff" + "größe\n".encode("utf-16-be"), "größe\n", None),
        ("größe\n".encode("utf-32"), "größe\n", None),
        (b"\xff\xfea", "\ufffd", "1 bad character in utf-16-le"),
        (b"it\x92s 5 \x80\n", "it’s 5 €\n", "Windows-1252"),
        ("# coding: cp1251\nпривет\n".encode("cp1251"), "# coding: cp1251\nпривет\n", None),
        ("#!x\n# -*- coding: euc-jp -*-\n日本\n".encode("euc-jp"), "日本\n", None),
        ("日本語のテキスト".encode()[:-1], "日本語のテキス\ufffd", "not valid UTF-8; 1 bad place"),
    ],
)
def test_encodings(data, text, warning):
    decoded = decode(data)
    assert text in decoded.text
    assert (warning is None) == (decoded.warnings == ())
    assert warning is None or warning in decoded.warnings[0]


def test_a_declared_encoding_is_a_last_resort():
    assert decode("привет".encode("koi8-r"), declared="koi8-r").text == "привет"
    assert decode("привет".encode(), declared="koi8-r").text == "привет"
    assert decode(b"caf\xe9", declared="no-such").text == "café"


@pytest.mark.parametrize(
    ("given_text", "cleaned"),
    [
        ("a\r\nb\r\n", "a\nb\n"),
        ("a\rb\r", "a\nb\n"),
        ("10%\r20%\n", "10%\u240d20%\n"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("N\x08NA\x08AM\x08ME_\x08e", "NAMEe"),
        ("bell\x07 nul\x00 del\x7f c1\x85", "bell\u2407 nul\u2400 del\u2421 c1\ufffd"),
        ("tab\tstays", "tab\tstays"),
        ("lone \ud800 surrogate", "lone \ufffd surrogate"),
        ("\x1b]0;never closed\nnext", "\u241b]0;never closed\nnext"),
    ],
)
def test_controls(given_text, cleaned):
    assert clean(given_text) == cleaned


def test_base64_is_replaced_by_its_length_and_lines_stay():
    run = "iVBORw0KGgoAAAANSUhEUgAAAAUA" * 20
    decoded = decode(f"a\nimg = '{run}=='\nb\n".encode())
    assert decoded.text == f"a\nimg = '[{len(run) + 2} characters of base64 left out]'\nb\n"
    assert decoded.warnings == (f"1 run of base64 left out ({len(run) + 2} characters)",)


@pytest.mark.parametrize("run", ["-" * 300, "ACGT" * 100, "0" * 300, "deadbeef01" * 30, "aB3" * 80])
def test_rulers_sequences_and_short_runs_stay(run):
    assert decode(run.encode()).text == run


def test_a_long_line_of_almost_base64_takes_linear_time():
    line = ("a" * 255 + " ") * 8000
    assert decode(line.encode()).text == line


@pytest.mark.parametrize("piece", ["\r", "\x1b[", "\x1b]", "\x1b[0", "\x08", "\x9d;", "a\x08\x08"])
def test_many_controls_take_linear_time(piece):
    text = decode(b"x\n" + (piece * 200_000).encode() + b"\ny").text
    assert text.count("\n") == 2
    assert not UNSAFE.search(text)


@pytest.mark.parametrize("name", ["a.txt", "a.html", "a.ipynb", "a.py"])
@given(st.binary(max_size=200) | st.text('<>{}[]":,&;\n\r p-!', max_size=200).map(str.encode))
def test_any_bytes_are_read_or_left_out(name, data):
    try:
        parts = convert(data, name, strip=True).parts
    except LeftOutError:
        return
    assert parts
    assert all(part.text.strip() and not UNSAFE.search(part.text) for part in parts)


def test_names_are_escaped():
    assert safe_name("plain größe.py") == "plain größe.py"
    assert (
        safe_name("a\nb\x1b\x9b\u202e\udcff\U000e0001") == "a\\nb\\x1b\\x9b\\u202e\\xff\\U000e0001"
    )


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (20 * 2**20, "20 MiB")]
)
def test_sizes(size, text):
    assert size_text(size) == text
