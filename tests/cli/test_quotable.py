"""What may be quoted, and that an answer made of it is true, whatever the model prefers."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jamba_cli.evidence import AnswerChecker, Evidence, Status
from jamba_cli.prompts import NOT_FOUND, blocks, question_task, summary_task
from jamba_cli.quotable import MOST_CHARS, answer_form, quotables
from jamba_cli.sources.document import Document, Part
from runtime.models import ASSETS
from runtime.quoting import QuoteGuide
from runtime.tokenizer import Tokenizer

NANO = ASSETS / "nano"
QUESTION = question_task("what?")


def found(document: Document) -> list[tuple[str, str]]:
    evidence = Evidence(document)
    pieces = quotables(document, lambda text: bool(evidence.find(text)))
    return [(piece.text, piece.reference) for piece in pieces]


def part(text: str, **more) -> Document:
    return Document((Part("a.txt", text, **more),))


def test_running_text_is_quoted_by_the_sentence_over_line_ends():
    text = "Dr. Roe sailed\nthe  sea. He came\nback (in May.) It rained."
    assert found(part(text)) == [
        ("Dr. Roe sailed the sea.", "[a.txt:1]"),
        ("He came back (in May.)", "[a.txt:1]"),
        ("It rained.", "[a.txt:1]"),
    ]


def test_lines_that_are_not_wrapped_are_pieces_of_their_own():
    texts = [text for text, _ in found(part("Key: one\nOther key: two\n\nA Title\n\n- an item"))]
    for line in ("Key: one", "Other key: two", "A Title", "- an item", "an item"):
        assert line in texts


def test_a_heading_right_above_its_text_is_no_part_of_the_sentence():
    page = (
        "the log of each ship that came into\nthe harbour was kept.\n8. Windows\n"
        "A window is a part of the text that\nfits. It is read alone.\nRelated Work\n"
        "Nobody in the harbour had tried so in\nthis way before."
    )
    assert [text for text, _ in found(part(page))] == [
        "the log of each ship that came into the harbour was kept.",
        "8. Windows",
        "Windows",
        "A window is a part of the text that fits.",
        "It is read alone.",
        "Related Work",
        "Nobody in the harbour had tried so in this way before.",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "He sailed for\nLisbon with the first ship of the year.",
        "It was sold by Roe and\nSons, a firm of the old harbour town.",
        "The list begins:\nAll ships that came into the harbour.",
    ],
)
def test_a_short_line_that_the_next_one_goes_on_from_is_no_heading(text):
    assert " ".join(text.split()) in [each for each, _ in found(part(f"It rained.\n{text}"))]


def test_a_sentence_over_blocks_and_pages_is_whole_and_cited_where_it_begins():
    filler = "The harbour keeps a log of each ship.\n" * 20
    pages = (
        Part("r.pdf", f"{filler}The council has\nvoted and so", page=1),
        Part("r.pdf", "it will be done. The end.", page=2),
        Part("r.pdf", "a torn page begins with this.", page=4),
    )
    texts = found(Document(pages))
    assert ("The council has voted and so it will be done.", "[p. 1]") in texts
    assert ("The end.", "[p. 2]") in texts
    assert ("a torn page begins with this.", "[p. 4]") in texts
    assert not any(text.startswith(("it will", "The end. a")) for text, _ in texts)
    assert not any(text.endswith("and so") for text, _ in texts)


def test_notes_of_two_pages_are_not_made_one_sentence():
    pages = (Part("r.pdf", "Results so far", page=1), Part("r.pdf", "and more came.", page=2))
    pieces = quotables(Document(pages), lambda text: False)
    assert [piece.text for piece in pieces] == ["Results so far", "and more came."]


def test_code_is_quoted_by_the_line_and_its_descriptions_without_marks():
    code = (
        'def f(x):\n    """Counts the ships that lie\n    in the bay.  Slowly.\n\n    More here.\n'
        '    """\n    return x\n# Masts are counted twice a day\n'
    )
    texts = [text for text, _ in found(part(code, language="python"))]
    assert "def f(x):" in texts
    assert "return x" in texts
    assert "Counts the ships that lie in the bay." in texts
    assert "Masts are counted twice a day" in texts
    assert "# Masts are counted twice a day" in texts


def test_a_summary_is_made_of_sentences_while_there_are_enough():
    text = "Some Title Here\n\nThe log names every ship. The masts are counted each day.\n\n- rope"
    whole = Evidence(part(text))

    def form(quotes: int):
        task = summary_task(style="quote", length=str(20 * quotes))
        return answer_form(whole.document, task, lambda text: True)

    assert [piece.text for piece in form(2).quotables] == [
        "The log names every ship.", "The masts are counted each day.",
    ]  # fmt: skip
    assert (form(2).most, form(2).refusal) == (2, None)
    assert "Some Title Here" in [piece.text for piece in form(3).quotables]
    assert answer_form(part(" "), summary_task(style="quote"), bool).refusal == NOT_FOUND
    assert answer_form(whole.document, QUESTION, bool).refusal == NOT_FOUND


def test_a_piece_that_never_ends_is_cut_at_a_word():
    [(text, _)] = [item for item in found(part("word " * 5000)) if len(item[0]) > 9]
    assert text == ("word " * 5000)[: len(text)]
    assert MOST_CHARS - 5 <= len(text) <= MOST_CHARS


WORDS = (
    'The ship A ships. sea, “it” \'tis 1990. é😀 [p. 1] [a.py:1] [x] - # ## def f(x): ) ( """Reads'
    " Dr. - 12. Roe? the and is. * | == see x[0][1]: ok! \u00ad Not found in the document."
)
GAPS = [" ", " ", " ", "\n", "\n\n", "  ", "\n    "]
TEXTS = st.lists(
    st.tuples(st.sampled_from(WORDS.split(" ")), st.sampled_from(GAPS)), max_size=60
).map(lambda pairs: "".join(word + gap for word, gap in pairs))
FILES = st.sampled_from([("a.py", "python"), ("n/[id].md", "markdown"), ("c.txt", None)])


@st.composite
def documents(draw) -> Document:
    texts = draw(st.lists(TEXTS, min_size=1, max_size=4))
    if draw(st.booleans()):
        first = draw(st.integers(1, 12))
        return Document(tuple(Part("r.pdf", t, page=n) for n, t in enumerate(texts, first)))
    files = [draw(FILES) for _ in texts]
    return Document(
        tuple(
            Part(f"{n}{path}", text, language=language, first_line=draw(st.integers(1, 50)))
            for n, (text, (path, language)) in enumerate(zip(texts, files, strict=True))
        )
    )


@cache
def tokenizer() -> Tokenizer:
    return Tokenizer.load(NANO)


def random_answer(document: Document, task: str, seed: int) -> str:
    """What a model says whose every logit is random."""
    evidence = Evidence(document)
    form = answer_form(document, task, lambda text: bool(evidence.find(text)))
    guide = QuoteGuide(form, tokenizer().encode_many, [2], look_ahead=seed % 2 == 1)
    random, ids = torch.Generator().manual_seed(seed), []

    def logits(_ids) -> torch.Tensor:
        return torch.randn(tokenizer().vocab_size, generator=random)

    while not ids or ids[-1] != 2:
        ids.append(int(guide(ids, logits(ids), logits).argmax()))
    return tokenizer().decode(ids)


def stands_at(document: Document, quote: str, reference: str) -> bool:
    """Whether a quote begins in a block with this reference, by searching block by block."""
    listed = list(blocks(document))
    for index, block in enumerate(listed):
        here = " ".join(block.text.split())
        after = [
            " ".join(b.text.split()) for b in listed[index + 1 :] if b.part.path == block.part.path
        ]
        at = " ".join([here, *after]).find(quote)
        while 0 <= at < len(here):
            if block.reference == reference:
                return True
            at = " ".join([here, *after]).find(quote, at + 1)
    return False  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(documents(), st.integers(0, 2**31), st.sampled_from([QUESTION, summary_task(style="quote")]))
def test_whatever_the_model_prefers_every_quote_is_true_and_every_reference_right(
    document, seed, task
):
    answer = random_answer(document, task, seed)
    if answer == NOT_FOUND and "- " not in answer:
        return
    checker = AnswerChecker(Evidence(document), style="quote")
    shown = "".join(checker.push(character) for character in answer) + checker.flush()
    lines = answer.split("\n")
    assert len(checker.references) == len(lines) == shown.count(" ✓")
    assert len({reference.quote for reference in checker.references}) == len(lines)
    for line, reference in zip(lines, checker.references, strict=True):
        assert line == f"- {reference.quote} [{reference.target}]"
        assert reference.status.verified
        assert reference.quote is not None
        assert stands_at(document, reference.quote, f"[{reference.target}]")


def test_a_long_page_of_one_reference_counts_as_quoted_there():
    document = Document((Part("r.pdf", "The ship sails at dawn. " * 3, page=7),))
    checker = AnswerChecker(Evidence(document), style="quote")
    checker.push(random_answer(document, QUESTION, 3))
    checker.flush()
    assert {reference.status for reference in checker.references} <= {Status.QUOTED}


@pytest.mark.parametrize("style", ["quote", "prose"])
def test_brackets_in_a_path_belong_to_its_reference(style):
    document = Document((Part("pages/[id].tsx", "export default x\n", language="typescript"),))
    checker = AnswerChecker(Evidence(document), style=style)
    quote = "export default x" if style == "quote" else '"export default x"'
    text = checker.push(f"- {quote} [pages/[id].tsx:1]\n") + checker.flush()
    assert text == f"- {quote} [pages/[id].tsx:1] ✓\n"
