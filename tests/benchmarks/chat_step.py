"""How long a further question takes inside a chat, through the code that `jamba chat` runs.

The document is of words that the embedded model's tokenizer knows, whose ids every vocabulary of
the family has; weights may be random, since what an answer says does not matter here.
"""

from __future__ import annotations

import random
import statistics
from functools import cached_property
from typing import Any

from jamba_cli.answering import Answerer
from jamba_cli.chat.conversation import QUESTION_TOKENS, Conversation
from jamba_cli.contexts.saving import Saving
from jamba_cli.output import Output
from jamba_cli.progress import NullReporter
from jamba_cli.reader import Reader
from jamba_cli.settings import Settings
from jamba_cli.sources.document import Document, Part
from runtime.config import JambaConfig
from runtime.engine import Engine
from runtime.sampling import SamplingParams

ANSWER_TOKENS = 8
QUESTIONS = ("What is said first?", "And after that?", "Who says it?", "Where does it end?")
WORDS = "state chunk token page line answer layer model file reads holds keeps and of to"


class ProseReader(Reader):
    """The embedded model's tokenizer and chat format for a model that answers in prose."""

    def __init__(self, config: JambaConfig) -> None:
        super().__init__("nano")
        self._shape = config

    @cached_property
    def config(self) -> JambaConfig:
        """The shape that is measured."""
        return self._shape

    @cached_property
    def style(self) -> str:
        """Earlier turns are shown, and no quotes are looked for."""
        return "prose"


def document_of(reader: Reader, tokens: int) -> Document:
    """Random words that take so many tokens of a prompt, or a few fewer."""
    draw = random.Random(0)
    lines = [" ".join(draw.choices(WORDS.split(), k=12)) for _ in range(tokens // 12)]
    document = Document((Part("words.txt", "\n".join(lines)),))
    while (taken := len(reader.prompt(document, "").shared)) > tokens:
        lines = lines[: len(lines) * tokens // taken - 1]
        document = Document((Part("words.txt", "\n".join(lines)),))
    return document


def conversation(engine: Engine, tokens: int) -> Conversation:
    """A chat about a document of about `tokens` tokens, of which nothing is saved."""
    reader, output = ProseReader(engine.config), Output(quiet=True)
    params = SamplingParams(temperature=0.0, max_tokens=ANSWER_TOKENS)
    answerer = Answerer(engine, reader, NullReporter(output), params)
    saving = Saving(Settings(save=False), reader, output, None)
    document = document_of(reader, tokens)
    return Conversation(answerer, saving, document, context=engine.config.max_context)


def further_question(engine: Engine, tokens: int) -> dict[str, Any]:
    """Median seconds from a further question to the first token of its answer."""
    room = QUESTION_TOKENS + len(QUESTIONS) * (ANSWER_TOKENS + 64)
    chat = conversation(engine, tokens - room)
    chat.begin()
    seconds = []
    for question in QUESTIONS:
        chat.ask(question, lambda _text: None)
        seconds.append(chat.first_token_s)
    return {
        "chat_tokens": chat.prompt_tokens,
        "chat_computed": chat.computed,
        "chat_question_s": statistics.median(seconds[1:]),
    }
