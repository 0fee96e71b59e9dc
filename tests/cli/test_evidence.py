"""References and quotes are checked against the document, whatever the model writes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jamba_cli.citations import find_targets
from jamba_cli.evidence import AnswerChecker, Evidence, Status, normalize, summarize_check
from jamba_cli.sources.document import Document, Part

PDF = Document(
    (
        Part("r.pdf", "The quick brown\nfox  jumps over.\nA second sentence be-", page=1),
        Part("r.pdf", "gins “here” and ends.\nThe fox again: fox jumps over.", page=2),
    )
)
REPO = Document(
    (
        Part("src/a.py", "\n\nimport os\n\n\ndef f(x):\n    return x + 1\n", language="python"),
        Part("b/Makefile", "all:\n\tmake x\n"),
        Part("n.ipynb", "print('cell')", cell=2),
        Part("late.txt", "found below\n", first_line=100),
    )
)


def checked(document: Document, answer: str, style: str = "quote"):
    checker = AnswerChecker(Evidence(document), style=style)
    shown = "".join(checker.push(character) for character in answer) + checker.flush()
    return shown, checker.references


@pytest.mark.parametrize(
    ("answer", "shown", "status"),
    [
        ("- The quick brown fox jumps over. [p. 1]", "[p. 1] ✓", Status.QUOTED),
        ("- quick brown fox jumps over [p. 1]", "[p. 1] ✓", Status.QUOTED),
        ('- "here" and ends [p. 1]', "[p. 2] ✓", Status.MOVED),
        ("- fox jumps over. [p. 2]", "[p. 2] ✓", Status.QUOTED),
        ("- The slow brown fox. [p. 1]", "[p. 1] ✗", Status.NO_QUOTE),
        ("- Quick Brown Fox [p. 1]", "[p. 1] ✗", Status.NO_QUOTE),
        ("- nothing like it [p. 7]", "[p. 7] ✗", Status.NO_PLACE),
        ("- The quick brown fox jumps over. [p. 7]", "[p. 1] ✓", Status.MOVED),
        ("[p. 2]", "[p. 2] ~", Status.PLACE),
        ("- . [p. 2]", "[p. 2] ~", Status.PLACE),
    ],
)
def test_a_quoting_answer(answer, shown, status):
    text, references = checked(PDF, answer)
    assert text.endswith(shown)
    assert [reference.status for reference in references] == [status]


def test_a_sentence_over_a_page_end_is_found_where_it_begins():
    document = Document((Part("a.pdf", "One two", page=4), Part("a.pdf", "three four", page=5)))
    _, [reference] = checked(document, "- One two three four [p. 4]")
    assert (reference.status, reference.found_at) == (Status.QUOTED, "p. 4")


@given(st.lists(st.text("ab“ \n\t\u00ad\u2003", max_size=12), max_size=8), st.booleans())
def test_every_place_of_a_quote_is_that_of_its_first_letter(between, hyphenated):
    text = ("Z\u00ade\u00add" if hyphenated else "Zed").join(between)
    places = Evidence(Document((Part("first.txt", "a b"), Part("a.txt", text)))).find("Zed")
    assert [place.offset for place in places] == [at for at, c in enumerate(text) if c == "Z"]


def test_a_quote_never_runs_from_one_file_into_the_next():
    _, [reference] = checked(REPO, "- return x + 1 all: [src/a.py:7]")
    assert reference.status is Status.NO_QUOTE


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        ("- def f(x): [src/a.py:3]", "[src/a.py:6] ✓"),  # the block's line becomes the exact one
        ("- def f(x): [a.py:3]", "[src/a.py:6] ✓"),
        ("- make x [Makefile:1]", "[b/Makefile:2] ✓"),
        ("- print('cell') [n.ipynb cell 2]", "[n.ipynb cell 2] ✓"),
        ("- print('cell') [n.ipynb cell 9]", "[n.ipynb cell 2] ✓"),
        ("- found below [late.txt:100]", "[late.txt:100] ✓"),
        ("- made up [src/a.py:99]", "[src/a.py:99] ✗"),
        ("- made up [nowhere.py:1]", "[nowhere.py:1] ✗"),
        ("- made up [late.txt:1]", "[late.txt:1] ✗"),
        ("- made up [p. 1]", "[p. 1] ✗"),
    ],
)
def test_references_to_files(answer, shown):
    assert checked(REPO, answer)[0].endswith(shown)


def test_prose_is_checked_by_its_words_in_quotation_marks():
    text, references = checked(
        REPO,
        'It "return x + 1" [src/a.py:1] and imports os [src/a.py:3]; see [a.py:1; late.txt:100].'
        " It “makes x” [b/Makefile:1].",
        "prose",
    )
    assert [r.status for r in references] == [
        Status.QUOTED, Status.PLACE, Status.PLACE, Status.PLACE, Status.NO_QUOTE,
    ]  # fmt: skip
    assert text.startswith('It "return x + 1" [src/a.py:7] ✓ and imports os [src/a.py:3] ~;')


def test_brackets_that_are_no_references_pass_unchanged():
    answer = "a[i:3] and [see above] and [1, 2] [\n] - [x](http://a.b/c:1) an [open end"
    text, references = checked(REPO, answer)
    assert text == answer
    assert references == []


@pytest.mark.parametrize(
    ("inner", "wanted"),
    [
        ("p. 3", [("page", None, 3, 3)]),
        ("p.3", [("page", None, 3, 3)]),
        ("pp. 3-5", [("page", None, 3, 5)]),
        ("a b.pdf p. 3", [("page", "a b.pdf", 3, 3)]),
        ("x.pdf, p. 3–4", [("page", "x.pdf", 3, 4)]),
        ("src/a.py:12", [("line", "src/a.py", 12, 12)]),
        ("src/a.py:12-20", [("line", "src/a.py", 12, 20)]),
        ("src/a.py:L12-L20", [("line", "src/a.py", 12, 20)]),
        ("p. 1; p. 2", [("page", None, 1, 1), ("page", None, 2, 2)]),
        ("Makefile:3", []),
        ("p. 99999999999999999999", []),
        ("C:\\x.py:3", [("line", "C:\\x.py", 3, 3)]),
        ("", []),
    ],
)
def test_forms_of_references(inner, wanted):
    found = [(t.kind, t.path, t.first, t.last) for t in find_targets(inner, ())]
    assert found == wanted


def test_the_summary_line_counts_each_kind():
    _, references = checked(
        PDF, '- fox jumps over [p. 1]\n- "here" [p. 1]\n- nothing [p. 1]\n- x y [p. 9]'
    )
    line = summarize_check(references)
    assert line.startswith("references: 4 checked: 2 quoted word for word ✓, 1 of them set right")
    assert "1 with a quote that is not in the document ✗" in line
    assert summarize_check([]) == "references: none given"


@given(st.text(alphabet='ab [].:p1\n"“-', max_size=80), st.sampled_from(["quote", "prose"]))
def test_any_text_passes_in_any_pieces(answer, style):
    whole = AnswerChecker(Evidence(PDF), style=style)
    once = whole.push(answer) + whole.flush()
    text, references = checked(PDF, answer, style)
    assert text == once
    assert references == whole.references
    if not references:
        assert text == answer


@given(st.data())
def test_every_run_of_words_of_a_document_is_found_where_it_stands(data):
    lines = data.draw(
        st.lists(st.text("abc “’ .-", min_size=1, max_size=12), min_size=1, max_size=9)
    )
    part = Part("x.txt", "\n".join(lines))
    words = part.text.split()
    if not words:
        return
    first = data.draw(st.integers(0, len(words) - 1))
    last = data.draw(st.integers(first, len(words) - 1))
    quote = " ".join(words[first : last + 1])
    if len(normalize(quote).strip(" \t\n\"'`*_.,;:!?…")) < 3:
        return
    places = Evidence(Document((part,))).find(quote)
    position, expected = 0, None
    for number, word in enumerate(words):
        position = part.text.index(word, position)
        if number == first:
            expected = part.text.count("\n", 0, position) + 1
        position += len(word)
    stripped = quote.strip(" \t\n\"'`*_.,;:!?…")
    assert places, quote
    # Edge punctuation is ignored, so the first letters may stand a line further on.
    assert any(abs(place.line - expected) <= quote.count(stripped[0]) + 3 for place in places)
