"""HTML without its tags, each line where it was."""

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jamba_cli.sources.html import strip_html

PAGE = """<!doctype html>
<html><head><title>Jamba &amp; Mamba</title>
<style>p { color: red }
</style><script>
if (a < b) { document.write("<p>no</p>") }
</script>
</head><body>
<h1>
  Long context</h1>
<p class="a>b"
   id=x>One <b>bold</b> move,&nbsp;5 &lt; 6.</p><ul><li>first<li>second</ul>
<table><tr><th>model<th>size</tr>
<tr><td>nano<td>30&#x20;M</table>
<pre>
def f():
    return 1
</pre>
<!-- not
this -->
The end &copy; 2026
"""


MARKUP = (
    "<|>|/|!|--|[|]|p|script|style|pre|td|li| |\n|&|&amp;|&#10;|;|=|\"|'|<!--|-->|</|x|?"
    "|<p>|<script>|</script>|<![CDATA[|]]>|<!DOCTYPE|<a href="
)


def test_text_stays_on_its_line():
    stripped = strip_html(PAGE)
    assert stripped.keeps_lines
    lines = stripped.text.split("\n")
    assert len(lines) == len(PAGE.split("\n"))
    assert lines[1] == "Jamba & Mamba"
    assert lines[2:7] == [""] * 5
    assert lines[8] == "# Long context"
    assert lines[10] == "One bold move, 5 < 6.  - first  - second"
    assert lines[11:13] == ["model | size", "nano | 30 M"]
    assert lines[14:16] == ["def f():", "    return 1"]
    assert lines[19] == "The end © 2026"
    assert "no" not in stripped.text.split()


def test_a_page_in_one_line_gets_a_line_for_each_block():
    source = "<html><body>" + "".join(f"<p>Paragraph {n} of many words.</p>" for n in range(200))
    stripped = strip_html(source)
    assert not stripped.keeps_lines
    assert stripped.text.splitlines()[41] == "Paragraph 41 of many words."


@pytest.mark.parametrize(
    "reference", ["&#10;", "&NewLine;", "&#13;", "&#27;[31m", "&#xD800;", "&#0;", "&#xFDD0;"]
)
def test_character_references_bring_no_lines_and_no_controls(reference):
    text = strip_html(f"<p>a{reference}b</p>\nend{reference}").text
    assert text.count("\n") == 1
    assert not [char for char in text if ord(char) < 32 and char != "\n"]
    text.encode()


@given(
    st.lists(
        st.sampled_from(MARKUP.split("|")),
        max_size=60,
    ).map("".join)
)
@example("<script>\n>")
@example("<style>\na\n<b>\n")
def test_any_markup_keeps_its_lines(source):
    stripped = strip_html(source)
    assert stripped.keeps_lines
    assert stripped.text.count("\n") == source.count("\n")


@pytest.mark.parametrize(
    "piece",
    ["<!--", "<![", "<?", "<a ", "<a x='", "</", "<script", "<script></", "&#", "<td>", "<!a["],
)
@pytest.mark.parametrize("end", ["", ">", "-->"])
def test_what_is_never_closed_takes_linear_time(piece, end):
    started = time.perf_counter()
    strip_html(piece * (200_000 // len(piece)) + end)
    assert time.perf_counter() - started < 10  # quadratic would be minutes
