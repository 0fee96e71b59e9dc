"""A guided answer is made of whole lines of its form, whatever the model would rather say."""

from __future__ import annotations

import pytest
import torch

from runtime.quoting import AnswerForm, Quotable, QuoteGuide
from runtime.sampling import Sampler, SamplingParams
from tests.helpers import golden, golden_engine

STOP = 300
WORDS = ["- S", "ail", "ors s", "ing", ". [", "p. 1]", ".", " [p. 2]", "\n", "- Not", " here", "- "]
"""Tokens that reach over the ends of words, quotes and references."""


def encode_many(texts):
    """Greedy longest match over WORDS, the rest in bytes; ids from 1000 on are words."""
    rows = []
    for text in texts:
        data, ids = text.encode(), []
        while data:
            fitting = [w for w in WORDS if data.startswith(w.encode())]
            word = max(fitting, key=len, default=None)
            ids.append(data[0] if word is None else 301 + WORDS.index(word))
            data = data[1 if word is None else len(word.encode()) :]
        rows.append(ids)
    return rows


def decode(ids) -> str:
    pieces = [bytes([i]) if i < 256 else WORDS[i - 301].encode() for i in ids if i != STOP]
    return b"".join(pieces).decode()


def blind(_ids) -> None:
    """No room to look ahead."""


def quotable(text: str, reference: str = "[p. 1]", start: int = 0) -> Quotable:
    return Quotable(text, reference, start, start + len(text))


def answers(form: AnswerForm, *, limit: int = 10_000) -> set[str]:
    """Every answer that the guide lets through, found by trying each allowed token in turn."""
    found, open_ids = set(), [[]]
    while open_ids:
        ids = open_ids.pop()
        guide = QuoteGuide(form, encode_many, [STOP])
        guided = guide(ids, torch.zeros(400), blind)
        for token in (guided == 0).nonzero().flatten().tolist():
            if token == STOP:
                found.add(decode(ids))
            else:
                open_ids.append([*ids, token])
        assert len(found) < limit
    return found


def test_an_answer_is_the_refusal_or_lines_that_do_not_overlap():
    pieces = [quotable("Sailors sing.", start=0), quotable("Ré 😀", "[p. 2]", start=20)]
    first, second = (piece.line for piece in pieces)
    form = AnswerForm(pieces, most=3, refusal="Not here.")
    assert answers(form) == {
        first, second, f"{first}\n{second}", f"{second}\n{first}", "Not here.",
    }  # fmt: skip


def test_at_most_so_many_lines():
    pieces = [quotable(f"{n} is.", start=10 * n) for n in range(3)]
    lines = [piece.line for piece in pieces]
    pairs = {f"{a}\n{b}" for a in lines for b in lines if a != b}
    assert answers(AnswerForm(pieces, most=2)) == {*lines, *pairs}


def test_a_summary_has_as_many_quotes_as_asked_for_in_order_and_spread():
    pieces = [quotable(f"{n} is.", start=10 * n) for n in range(6)]
    lines = [piece.line for piece in pieces]
    # Of 6 pieces each of 3 quotes has a share of 2: the first leaves 2 pieces, the second 1.
    assert answers(AnswerForm(pieces, most=3, spread=True)) == {
        "\n".join((lines[a], lines[b], lines[c]))
        for a in range(4) for b in range(a + 1, 5) for c in range(b + 1, 6)
    }  # fmt: skip
    assert answers(AnswerForm(pieces[:2], most=3, spread=True)) == {"\n".join(lines[:2])}


def test_the_same_words_in_two_places_are_quoted_once_with_either_reference():
    pieces = [quotable("Here.", "[p. 1]", 0), quotable("Here.", "[p. 2]", 90)]
    form = AnswerForm(pieces, most=9)
    assert answers(form) == {"- Here. [p. 1]", "- Here. [p. 2]"}


def test_a_piece_within_another_ends_where_the_model_ends_it_and_rules_the_other_out():
    pieces = [quotable("Sail"), quotable("Sailors sing."), quotable("sing.", start=8)]
    form = AnswerForm(pieces, most=9)
    whole, beginning, end = "- Sailors sing. [p. 1]", "- Sail [p. 1]", "- sing. [p. 1]"
    assert answers(form) == {whole, beginning, end, f"{beginning}\n{end}", f"{end}\n{beginning}"}


def test_words_that_look_like_a_reference_are_words():
    pieces = [quotable("see"), quotable("see [p. 1] or [p. 2]", "[p. 2]", 50)]
    lines = {"- see [p. 1]", "- see [p. 1] or [p. 2] [p. 2]"}
    assert answers(AnswerForm(pieces, most=1)) == lines


def test_without_anything_to_quote_the_refusal_is_the_answer():
    assert answers(AnswerForm([], most=3, refusal="Not here.")) == {"Not here."}


def test_what_is_forced_is_what_alone_is_allowed():
    pieces = [quotable(f"{n} sailors sing here.", start=30 * n) for n in (1, 2)]
    form = AnswerForm(pieces, most=2)
    guide, plain = (QuoteGuide(form, encode_many, [STOP]) for _ in range(2))
    ids, runs = [], []
    while not ids or ids[-1] != STOP:
        ids.append(int(guide(ids, torch.arange(400.0), blind).argmax()))
        run = guide.forced(ids) if ids[-1] != STOP else []
        for token in run:
            assert (plain(ids, torch.zeros(400), blind) == 0).nonzero().flatten().tolist() == [
                token
            ]
            ids.append(token)
        runs.append(len(run))
    assert set(decode(ids).split("\n")) == {piece.line for piece in pieces}
    assert sum(runs) >= len(ids) - 5


@pytest.mark.parametrize("temperature", [0.0, 1.0, 30.0])
def test_sampling_chooses_among_what_is_allowed(temperature):
    pieces = [quotable(f"{n} sailors sing.", start=20 * n) for n in range(9)]
    form = AnswerForm(pieces, most=3, refusal="Not here.")
    for seed in range(20):
        sampler = Sampler(SamplingParams(temperature=temperature, top_p=0.9, seed=seed), 400)
        guide, ids = QuoteGuide(form, encode_many, [STOP]), []
        random = torch.Generator().manual_seed(seed)
        while not ids or ids[-1] != STOP:
            ids.append(sampler.sample(guide(ids, torch.randn(400, generator=random) * 5, blind)))
        lines = decode(ids).split("\n")
        assert lines == ["Not here."] or set(lines) <= {piece.line for piece in pieces}
        assert len(set(lines)) == len(lines) <= 3


def wishes(text: str, end: int = STOP):
    """Logits after the ids so far, of a model that would write this text."""
    wanted = [*encode_many([text])[0], end]

    def logits(ids) -> torch.Tensor:
        scores = torch.zeros(400)
        if list(ids) == wanted[: len(ids)] and len(ids) < len(wanted):
            scores[wanted[len(ids)]] = 9.0
        return scores

    return logits


def guided(form: AnswerForm, wish: str) -> str:
    """The greedy answer of a model that would write `wish` after any whole line."""
    guide, ids, begun = QuoteGuide(form, encode_many, [STOP], look_ahead=True), [], 0
    logits = wishes(wish)
    while not ids or ids[-1] != STOP:
        heard = ids[begun:]
        scores = guide(ids, logits(heard), lambda more, heard=heard: logits([*heard, *more]))
        ids.append(int(scores.argmax()))
    return decode(ids)


def test_a_quote_begun_some_words_late_is_given_from_its_beginning():
    pieces = [
        quotable("fn is_empty(x)", start=0),
        quotable("pub fn is_end(x)", start=30),
        quotable("pub const fn is_e(x)", start=60),
    ]
    form = AnswerForm(pieces, most=1, refusal="Not here.")
    assert guided(form, "- fn is_end(x) [p. 1]") == pieces[1].line
    assert guided(form, "- fn is_empty(x) [p. 1]") == pieces[0].line
    assert guided(form, "- fn is_e(x) [p. 1]") == pieces[2].line
    assert guided(form, "Not here.") == "Not here."


def test_a_piece_that_begins_as_wished_goes_before_one_that_does_so_later():
    pieces = [quotable("the fn is (x)", start=0), quotable("fn is (x)", start=30)]
    assert guided(AnswerForm(pieces, most=1), "- fn is (x) [p. 1]") == pieces[1].line


def test_the_engine_lets_a_guide_choose():
    model, ids = golden_engine("odd"), golden("odd")[0]
    vocabulary = model.config.vocab_size
    form = AnswerForm([quotable("ab"), quotable("b", start=9)], most=2)
    lines = {piece.line: [ord(c) % vocabulary for c in piece.line] for piece in form.quotables}
    guide = QuoteGuide(form, lambda texts: [lines.get(t, [1]) for t in texts], [0])
    memory = model.new_cache(80)
    logits = model.prefill(ids[:40], memory)
    params = SamplingParams(max_tokens=40)
    given = [t.id for t in model.generate(memory, logits, params, stop_ids=[0], guide=guide)]
    ends = [[*line, 0] for line in lines.values()]
    first, second = lines.values()
    assert given in [*ends, [*first, 1, *second, 0], [*second, 1, *first, 0]]
