"""In a conversation exactly the tokens are computed that the cache does not hold already.

The engine is real but for its answers, which are scripted; tokens are bytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest

from jamba_cli.answering import Answerer
from jamba_cli.chat.conversation import Conversation, check_fit
from jamba_cli.chat.dialogue import Turn
from jamba_cli.contexts.saving import Saving
from jamba_cli.output import Output
from jamba_cli.progress import NullReporter
from jamba_cli.prompts import question_task
from jamba_cli.reader import Reader
from jamba_cli.settings import Settings
from jamba_cli.sources.document import Document, Part
from runtime.engine import Engine, Token
from runtime.errors import BudgetError, UsageError
from runtime.sampling import SamplingParams
from tests.helpers import assert_close
from tests.runtime.test_chat import REASONING
from tests.tiny_model import write_model

DOCUMENT = Document((Part("a.txt", "Fact 1 stands here.\n" * 70),))
STOP = 257


@dataclass
class ScriptedEngine:
    """Reads as the real engine does and says what it was told; keeps what it had to read."""

    real: Engine
    encode: object
    answers: list[str] = field(default_factory=list)
    read: list[int] = field(default_factory=list)
    interrupt_after: int = -1

    def __getattr__(self, name):
        return getattr(self.real, name)

    def prefill(self, ids, cache, **options):
        self.read.append(len(ids))
        return self.real.prefill(ids, cache, **options)

    def generate(self, cache, logits, params, **_options):
        self.logits = logits
        for count, number in enumerate(self.encode(self.answers.pop(0))):
            if count == self.interrupt_after:
                cache.states[0].ssm.zero_()  # the states of an interrupted step disagree
                raise KeyboardInterrupt
            self.real.prefill([number], cache)
            yield Token(number)
        yield Token(STOP, is_stop=True)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    found = {
        style: write_model(root / style, style=style, context=20_000)
        for style in ("prose", "quote")
    }
    found["reasoning"] = write_model(root / "reasoning", context=20_000)
    path = found["reasoning"] / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_template": REASONING}))
    return found


@pytest.fixture
def begin(models, tmp_path, monkeypatch):
    """`begin(kind, *answers)`: a conversation whose document is read, and its engine."""
    monkeypatch.setenv("JAMBA_CONTEXTS", str(tmp_path / "contexts"))

    def make(kind: str, *answers: str, context: int = 20_000):
        reader = Reader(str(models[kind]))
        real = Engine.load(reader.directory, device="cpu")
        engine = ScriptedEngine(real, reader.tokenizer.encode, list(answers))
        answerer = Answerer(engine, reader, NullReporter(), SamplingParams(max_tokens=200))
        saving = Saving(Settings(), reader, Output(quiet=True), None)
        chat = Conversation(answerer, saving, DOCUMENT, context=context)
        chat.begin()
        engine.read.clear()
        return chat, engine, reader

    return make


def silent(_text: str) -> None:
    pass


def wanted_ids(reader: Reader, question: str, turns: list[Turn]) -> list[int]:
    return reader.prompt(DOCUMENT, question_task(question), turns).ids


def check(chat, engine, reader, question: str, turns: list[Turn]) -> int:
    """The tokens just computed; the logits must be those of the whole prompt read afresh."""
    ids = wanted_ids(reader, question, turns)
    cache = engine.real.new_cache(len(ids))
    assert_close(engine.logits, engine.real.prefill(ids, cache))
    computed = sum(engine.read)
    engine.read.clear()
    assert (chat.computed, chat.prompt_tokens) == (computed, len(ids))
    return computed


def differing(before: list[int], now: list[int]) -> int:
    same = next(
        (n for n, (a, b) in enumerate(zip(before, now, strict=False)) if a != b),
        min(len(before), len(now)),
    )
    return len(now) - same


def test_a_continued_chat_computes_what_is_new(begin):
    chat, engine, reader = begin("prose", "One.", "Two.", "Three.")
    chat.ask("which?", silent)
    first = wanted_ids(reader, "which?", [])
    shared = len(reader.prompt(DOCUMENT, "").shared)
    assert check(chat, engine, reader, "which?", []) == len(first) - shared
    turns = [Turn(question_task("which?"), "One.")]
    held = first + reader.tokenizer.encode("One.")
    chat.ask("and then?", silent)
    second = wanted_ids(reader, "and then?", turns)
    assert check(chat, engine, reader, "and then?", turns) == differing(held, second)
    assert chat.turns == [*turns, Turn(question_task("and then?"), "Two.")]
    chat.ask("more?", silent)
    held = second + reader.tokenizer.encode("Two.")
    third = wanted_ids(reader, "more?", chat.turns[:2])
    assert check(chat, engine, reader, "more?", chat.turns[:2]) == differing(held, third)


def test_a_retry_computes_nothing(begin):
    chat, engine, reader = begin("prose", "One.", "Two.", "Other.")
    chat.ask("which?", silent)
    chat.ask("and?", silent)
    engine.read.clear()
    answer = chat.retry(silent)
    assert answer.text == "Other."
    assert check(chat, engine, reader, "and?", chat.turns[:1]) == 0
    assert [turn.answer for turn in chat.turns] == ["One.", "Other."]


def test_after_undo_only_the_new_question_is_computed(begin):
    chat, engine, reader = begin("prose", "One.", "Two.", "Three.")
    chat.ask("which?", silent)
    chat.ask("no", silent)
    taken = chat.undo()
    assert taken == Turn(question_task("no"), "Two.")
    engine.read.clear()
    chat.ask("yes", silent)
    old = wanted_ids(reader, "no", chat.turns[:1])
    new = wanted_ids(reader, "yes", chat.turns[:1])
    assert check(chat, engine, reader, "yes", chat.turns[:1]) == differing(old, new)


def test_an_edited_last_turn_is_computed_from_where_questions_part(begin):
    chat, engine, reader = begin("prose", "One.", "Two.", "Three.")
    chat.ask("which?", silent)
    chat.ask("what is it?", silent)
    chat.undo()
    engine.read.clear()
    chat.ask("What is that?", silent)
    old = wanted_ids(reader, "what is it?", chat.turns[:1])
    new = wanted_ids(reader, "What is that?", chat.turns[:1])
    assert check(chat, engine, reader, "What is that?", chat.turns[:1]) == differing(old, new)


def test_undo_of_everything_goes_back_to_the_document(begin):
    chat, engine, reader = begin("prose", "One.", "Two.", "Again.")
    chat.ask("which?", silent)
    chat.ask("and?", silent)
    chat.forget()
    engine.read.clear()
    chat.ask("or?", silent)
    new, old = wanted_ids(reader, "or?", []), wanted_ids(reader, "which?", [])
    assert check(chat, engine, reader, "or?", []) == differing(old, new)
    for action in (chat.undo, chat.undo):
        if not chat.turns:
            with pytest.raises(UsageError):
                action()
        else:
            action()
    with pytest.raises(UsageError, match="no question"):
        chat.retry(silent)


def test_a_quoting_model_is_asked_every_question_by_itself(begin):
    chat, engine, reader = begin("quote", "- Fact 1 stands here. [a.txt:1]\n", "- x", "- y")
    answer = chat.ask("which?", silent)
    assert answer.text == "- Fact 1 stands here. [a.txt:1] ✓\n"
    engine.read.clear()
    chat.ask("and?", silent)
    old, new = wanted_ids(reader, "which?", []), wanted_ids(reader, "and?", [])
    assert check(chat, engine, reader, "and?", []) == differing(old, new)


def test_a_format_that_moves_text_and_drops_thoughts_computes_just_that(begin):
    answers = ("Hm.\n</think>\n\nOne.", "So.\n</think>\n\nTwo.")
    chat, engine, reader = begin("reasoning", *answers)
    assert reader.layout == "system"
    shown: list[str] = []
    chat.ask("which?", shown.append)
    assert "".join(shown) == "One."
    engine.read.clear()
    turns = list(chat.turns)
    chat.ask("and?", silent)
    old = wanted_ids(reader, "which?", []) + reader.tokenizer.encode(answers[0])
    new = wanted_ids(reader, "and?", turns)
    assert check(chat, engine, reader, "and?", turns) == differing(old, new)
    assert differing(old, new) < 300  # the turns, never the document


def test_a_stopped_answer_stays_a_turn_and_the_states_are_whole(begin):
    chat, engine, reader = begin("prose", "One and more.", "Two.")
    engine.interrupt_after = 3
    with pytest.raises(KeyboardInterrupt):
        chat.ask("which?", silent)
    assert chat.turns == [Turn(question_task("which?"), "One")]
    engine.interrupt_after = -1
    chat.ask("and?", silent)
    engine.read.clear()
    ids = wanted_ids(reader, "and?", chat.turns[:1])
    assert_close(engine.logits, engine.real.prefill(ids, engine.real.new_cache(len(ids))))


def test_an_answer_stopped_in_its_first_thought_is_no_turn(begin):
    chat, engine, _ = begin("reasoning", "Hm, so", "Hm.\n</think>\n\nTwo.")
    engine.interrupt_after = 3
    with pytest.raises(KeyboardInterrupt):
        chat.ask("which?", silent)
    assert chat.turns == []


def test_a_question_that_is_stopped_before_its_answer_can_be_retried_or_taken_back(begin):
    chat, engine, _ = begin("prose", "One.", "Two.", "Three.", "Four.")
    first = chat.ask("which?", silent)
    engine.interrupt_after = 0
    with pytest.raises(KeyboardInterrupt):
        chat.ask("and?", silent)
    assert chat.turns == [Turn(question_task("which?"), first.text)]
    assert chat.undo() == Turn(question_task("and?"), "")
    with pytest.raises(KeyboardInterrupt):
        chat.ask("why?", silent)
    engine.interrupt_after = -1
    assert chat.retry(silent).text == "Four."
    assert [turn.task for turn in chat.turns] == [question_task(q) for q in ("which?", "why?")]


def test_a_retry_that_is_stopped_before_its_answer_leaves_the_one_there_was(begin):
    chat, engine, _ = begin("prose", "One.", "Two.", "Three.")
    chat.ask("which?", silent)
    engine.interrupt_after = 0
    with pytest.raises(KeyboardInterrupt):
        chat.retry(silent)
    assert chat.turns == [Turn(question_task("which?"), "One.")]
    engine.interrupt_after = -1
    assert chat.retry(silent).text == "Three."
    assert chat.undo().answer == "Three."
    with pytest.raises(UsageError):
        chat.undo()


def test_a_longer_conversation_gets_a_larger_cache(begin, monkeypatch):
    monkeypatch.setattr("jamba_cli.chat.conversation.GROWTH_TOKENS", 300)
    chat, engine, reader = begin("prose", "One.", "Two.", "Three.")
    before = chat._cache.max_tokens
    chat.ask("which?", silent)
    engine.read.clear()
    chat.ask("q" * 400, silent)
    assert chat._cache.max_tokens > before
    ids = wanted_ids(reader, "q" * 400, chat.turns[:1])
    # The document comes from disk, so the turns alone are computed.
    assert sum(engine.read) == len(ids) - len(reader.prompt(DOCUMENT, "").shared)
    assert_close(engine.logits, engine.real.prefill(ids, engine.real.new_cache(len(ids))))


def test_a_conversation_that_outgrows_the_context_says_so_and_can_be_cut(begin):
    chat, _, _ = begin("prose", "One.", "Two.", context=2400)
    chat.ask("which?", silent)
    with pytest.raises(BudgetError, match="2,400"):
        chat.ask("q" * 800, silent)
    assert len(chat.turns) == 1
    chat.forget()
    assert chat.ask("and?", silent).text == "Two."


def test_a_document_that_leaves_no_room_is_refused_with_the_numbers():
    check_fit(1000, 1768, 512, "a.pdf")
    with pytest.raises(BudgetError, match=r"a\.pdf: 1,001 tokens .* 1,768 leaves 1,000") as caught:
        check_fit(1001, 1768, 512, "a.pdf")
    assert caught.value.exit_code == 4
    assert "jamba ask" in caught.value.hint


def test_old_points_are_given_up(begin, monkeypatch):
    monkeypatch.setattr("jamba_cli.chat.conversation.MOST_POINTS", 4)
    chat, engine, _ = begin("prose", *["Yes."] * 6)
    for number in range(6):
        chat.ask(f"{number}?", silent)
    assert len(chat._points) == 5
    assert len(chat._cache._snapshots) == 5
    chat.forget()
    engine.answers.append("Still.")
    assert chat.ask("which?", silent).text == "Still."
