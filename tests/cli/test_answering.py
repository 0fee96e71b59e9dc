"""The way of an answer: windows, notes, merging; a scripted engine takes the model's part."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch

from jamba_cli.answering import Answerer
from jamba_cli.evidence import Evidence
from jamba_cli.progress import NullReporter
from jamba_cli.prompts import NOT_FOUND, question_task, summary_task
from jamba_cli.reader import Reader
from jamba_cli.sources.document import Document, Part
from jamba_cli.windows import plan
from runtime.engine import Engine, Token
from runtime.sampling import SamplingParams
from tests.tiny_model import write_model

LIMIT = 1400


@dataclass
class ScriptedEngine:
    """Gives the answers it was told, and keeps the prompts it was given."""

    reader: Reader
    real: Engine
    answers: list[str]
    prompts: list[str] = field(default_factory=list)

    def new_cache(self, tokens):
        return self.real.new_cache(tokens)

    def prefill(self, ids, cache, *, chunk_tokens, on_chunk):
        self.prompts.append(self.reader.tokenizer.decode(ids))
        cache.advance(len(ids))
        on_chunk(len(ids), len(ids), cache)
        return torch.zeros(1)

    def generate(self, cache, logits, params, *, stop_ids, prompt_ids, guide):
        for number in self.reader.tokenizer.encode(self.answers.pop(0)):
            yield Token(number)
        yield Token(257, is_stop=True)


@pytest.fixture(scope="module")
def readers(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {
        style: Reader(str(write_model(root / style, style=style))) for style in ("quote", "prose")
    }


@pytest.fixture
def answerer(readers):
    def make(style: str, *answers: str) -> Answerer:
        reader = readers[style]
        real = Engine.load(reader.directory, device="cpu")
        engine = ScriptedEngine(reader, real, list(answers))
        return Answerer(engine, reader, NullReporter(), SamplingParams(max_tokens=400))

    return make


PAGES = Document(
    tuple(
        Part("r.pdf", f"Fact {n} stands here.\n" + "filler words\n" * 60, page=n) for n in (1, 2, 3)
    )
)


def run(answerer: Answerer, task: str, document: Document = PAGES, map_task: str | None = None):
    shown: list[str] = []
    reading = plan(document, task, answerer.reader, LIMIT, "windows")
    answer = answerer.run(task, reading, Evidence(document), shown.append, map_task=map_task)
    assert "".join(shown) == answer.text
    return answer, reading


def test_one_window_is_answered_directly_and_checked(answerer):
    document = Document((Part("r.pdf", "Fact 1 stands here.", page=1),))
    model = answerer("quote", "- Fact 1 stands here. [p. 1]\n- Fact 9 [p. 1]\n")
    answer, _ = run(model, question_task("which fact?"), document)
    assert answer.text == "- Fact 1 stands here. [p. 1] ✓\n- Fact 9 [p. 1] ✗\n"
    assert answer.complete
    assert (
        model.usage.generated_tokens == len("- Fact 1 stands here. [p. 1]\n- Fact 9 [p. 1]\n") + 1
    )


def test_windows_that_find_nothing_are_left_out_and_one_finding_is_the_answer(answerer):
    model = answerer("quote", NOT_FOUND, "- Fact 2 stands here. [p. 2]", NOT_FOUND)
    answer, reading = run(model, question_task("which fact?"))
    assert len(reading.windows) == 3
    assert answer.text == "- Fact 2 stands here. [p. 2] ✓"
    assert model.engine.answers == []


def test_nothing_found_anywhere_is_said_once(answerer):
    model = answerer("quote", NOT_FOUND, NOT_FOUND, NOT_FOUND)
    answer, _ = run(model, question_task("which fact?"))
    assert answer.text.strip() == NOT_FOUND
    assert not answer.found


def test_notes_of_windows_are_merged_and_keep_their_references(answerer):
    model = answerer(
        "quote",
        "- Fact 1 stands here. [p. 1]\n- invented [p. 1]",
        "- Fact 2 stands here. [p. 2]",
        "- Fact 3 stands here. [p. 1]",  # a wrong reference is set right before merging
        "- Fact 2 stands here. [p. 2]\n- Fact 3 stands here. [p. 3]",
    )
    task = summary_task(style="quote")
    answer, _ = run(model, task, map_task=summary_task(style="quote", length="40"))
    merged = model.engine.prompts[-1]
    for n in (1, 2, 3):
        assert f"[p. {n}]\nFact {n} stands here." in merged
    assert "invented" not in merged
    assert "in 2 quotes" in model.engine.prompts[0]
    assert "in 6 quotes" in merged
    assert [r.found_at for r in answer.references] == ["p. 2", "p. 3"]


def test_notes_in_which_merging_finds_no_answer_are_named(answerer, caplog):
    model = answerer(
        "quote", "- Fact 1 stands here. [p. 1]", NOT_FOUND, "- Fact 3 [p. 2]", NOT_FOUND
    )
    answer, _ = run(model, question_task("which fact?"))
    assert not answer.found
    (message,) = caplog.messages
    assert message.startswith("2 windows gave passages")
    assert message.endswith(": [p. 1], [p. 3]")


def test_notes_in_prose_are_merged_with_the_references_in_them(answerer):
    model = answerer("prose", "One is so [p. 1].", "Two [p. 2].", "Three [p. 3].", "All [p. 2].")
    answer, _ = run(model, summary_task(style="prose"), map_task=summary_task(style="prose"))
    assert "One is so [p. 1] ~." in model.engine.prompts[-1]
    assert answer.text == "All [p. 2] ~."


def test_notes_that_cannot_get_shorter_are_shown_as_they_are(answerer):
    long_notes = [
        "- " + f"Fact {n} stands here. " + "filler words " * 50 + f"[p. {n}]" for n in (1, 2, 3)
    ]
    model = answerer("quote", *long_notes)
    answer, _ = run(model, summary_task(style="quote"), map_task=summary_task(style="quote"))
    assert all(f"Fact {n} stands here." in answer.text for n in (1, 2, 3))
    assert model.engine.answers == []


def test_an_answer_cut_at_max_tokens_is_marked_incomplete(readers):
    reader = readers["prose"]
    real = Engine.load(reader.directory, device="cpu")
    model = Answerer(real, reader, NullReporter(), SamplingParams(max_tokens=3))
    document = Document((Part("a.txt", "text"),))
    reading = plan(document, question_task("x"), reader, LIMIT, "windows")
    answer = model.run(question_task("x"), reading, Evidence(document), lambda text: None)
    assert not answer.complete
    assert model.usage.generated_tokens == 3


def test_the_cache_is_used_again_when_it_is_large_enough(answerer):
    model = answerer("quote", "a", "b", "c", "d")
    documents = [Document((Part("a.txt", "word " * count),)) for count in (200, 20)]
    evidence = Evidence(documents[0])
    model.answer(documents[0], question_task("x"), evidence, lambda text: None)
    first = model.cache
    model.answer(documents[1], question_task("x"), evidence, lambda text: None)
    assert model.cache is first


def test_a_stop_text_ends_the_answer_before_it(readers, answerer):
    model = answerer("prose", "kept STOP lost")
    model.params = SamplingParams(max_tokens=50, stop=("STOP",))
    document = Document((Part("a.txt", "text"),))
    answer = model.answer(document, question_task("x"), Evidence(document), lambda text: None)
    assert answer.text == "kept "
    assert answer.complete
