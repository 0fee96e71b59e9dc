"""Notebooks: a part a cell, outputs capped, images dropped, damage read as text."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jamba_cli.sources.notebook import MAX_OUTPUT_CHARS, NotANotebookError, notebook_parts
from jamba_cli.sources.resolve import ReadOptions, read_sources


def book(*cells, **extra) -> bytes:
    return json.dumps({"cells": cells, "nbformat": 4, **extra}).encode()


def code(source, *outputs):
    return {"cell_type": "code", "source": source, "outputs": list(outputs)}


def stream(text):
    return {"output_type": "stream", "name": "stdout", "text": text}


def shown(**data):
    return {
        "output_type": "display_data",
        "data": {k.replace("_", "/"): v for k, v in data.items()},
    }


def test_cells_keep_their_number_and_language():
    data = book(
        {"cell_type": "markdown", "source": ["# Title\n", "text"]},
        code(""),
        code(["x = 1\n", "x"], {"output_type": "execute_result", "data": {"text/plain": ["1"]}}),
        {"cell_type": "raw", "source": "raw"},
        metadata={"language_info": {"name": "julia"}},
    )
    parts = notebook_parts(data, "a.ipynb")
    assert [(part.cell, part.language, part.text) for part in parts] == [
        (1, "markdown", "# Title\ntext"),
        (3, "julia", "x = 1\nx\n\nOutput:\n1"),
        (4, None, "raw"),
    ]
    assert parts[1].reference() == "[a.ipynb cell 3]"


def test_images_are_counted_not_kept():
    image = "iVBORw0KGgo" * 100
    (part,) = notebook_parts(
        book(code("plot()", shown(image_png=image, text_plain="<Figure>"), shown(image_png=image))),
        "a.ipynb",
    )
    assert part.text == "plot()\n\nOutput:\n<Figure>\n[2 images left out]"


def test_long_outputs_say_how_much_is_left_out():
    (part,) = notebook_parts(book(code("run()", stream("a" * 5000 + "THE END"))), "a.ipynb")
    left_out = 5007 - MAX_OUTPUT_CHARS
    assert f"[... {left_out:,} characters of output left out ...]" in part.text
    assert part.text.endswith("THE END")
    assert part.text.count("a") - "characters of".count("a") < 2000


def test_errors_tables_and_escapes_in_outputs():
    trace = {
        "output_type": "error",
        "ename": "ValueError",
        "evalue": "no",
        "traceback": ["\x1b[0;31mValueError\x1b[0m: no"],
    }
    bare = {"output_type": "error", "ename": "KeyError", "evalue": "'k'", "traceback": []}
    table = shown(text_html="<table><tr><td>1<td>2</table>")
    (part,) = notebook_parts(book(code("f()", trace, bare, table)), "a.ipynb")
    assert part.text == "f()\n\nOutput:\nValueError: no\nKeyError: 'k'\n1 | 2"


def test_attached_images_and_lone_surrogates_in_sources():
    run = "iVBORw0KGgoAAAANSUhEUgAAAAUA" * 20
    data = book({"cell_type": "markdown", "source": f"![](data:image/png;base64,{run}) \ud800"})
    (part,) = notebook_parts(data, "a.ipynb")
    assert (
        part.text == f"![](data:image/png;base64,[{len(run)} characters of base64 left out]) \ufffd"
    )


def test_format_3():
    old = {
        "worksheets": [
            {
                "cells": [
                    {"cell_type": "heading", "level": 2, "source": "Old"},
                    {
                        "cell_type": "code",
                        "input": "1+1",
                        "outputs": [{"output_type": "pyout", "text": ["2"], "png": "iVBOR"}],
                    },
                ]
            }
        ]
    }
    parts = notebook_parts(json.dumps(old).encode(), "a.ipynb")
    assert [part.text for part in parts] == ["# Old", "1+1\n\nOutput:\n2\n[1 image left out]"]


@pytest.mark.parametrize(
    "data", [b'{"cells": [', b"[]", b'{"cells": 3}', b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}"]
)
def test_broken_notebooks_are_refused(data):
    with pytest.raises(NotANotebookError):
        notebook_parts(data, "a.ipynb")


def test_a_broken_notebook_is_read_as_text_with_a_warning(tmp_path):
    (tmp_path / "a.ipynb").write_text('{"cells": [\n"half')
    (tmp_path / "b.ipynb").write_bytes(book(code("x = 1")))
    document = read_sources([str(tmp_path)], ReadOptions())
    assert [(part.path, part.cell) for part in document.parts] == [
        ("a.ipynb", None),
        ("b.ipynb", 1),
    ]
    assert document.parts[0].reference(14) == "[a.ipynb:2]"
    assert document.warnings == ("a.ipynb: read as text, not as a notebook: its JSON is damaged",)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["cells", "source", "outputs", "data", "text", "cell_type", "metadata"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.lists(json_values, max_size=4), json_values)
def test_any_shape_of_json_is_read_or_refused(cells, metadata):
    for cell in cells:
        if isinstance(cell, dict):
            cell["cell_type"] = "code"
    parts = notebook_parts(json.dumps({"cells": cells, "metadata": metadata}).encode(), "a.ipynb")
    assert all(part.text.strip() for part in parts)
