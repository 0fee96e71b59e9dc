"""When a further question inside `jamba chat` has its first token, whatever the answer is.

The loop of `jamba chat` is the real one, with its conversation, chat format and checks; questions
come as lines of standard input.  The clock runs from the moment at which a line is handed over to
the first text on standard output, or to the answer's end where its few tokens show nothing.  The
document is random words in files; random weights say what they like about it.
"""

from __future__ import annotations

import io
import json
import random
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

from jamba_cli.answering import Answerer
from jamba_cli.chat.conversation import Conversation
from jamba_cli.chat.line_input import Lines
from jamba_cli.chat.repl import Repl
from jamba_cli.contexts.saving import Saving
from jamba_cli.output import Output
from jamba_cli.progress import NullReporter
from jamba_cli.reader import Reader
from jamba_cli.settings import Settings
from jamba_cli.sources.document import Document, Part
from runtime.contexts import ContextStore
from runtime.engine import Engine
from runtime.models import resolve
from runtime.sampling import SamplingParams

ROOM_TOKENS = 1_024
"""What the document leaves of the context for the turns."""

ANSWER_TOKENS = 8

QUESTIONS = (
    "Which file says what the others leave out?",
    "What is said of it in the last file?",
    "Who wrote that, and where does it stand?",
    "Is there anything in the document that contradicts this answer?",
)
"""The first is asked once the document is read; the others are the further ones."""

SYLLABLES = ("ba", "con", "de", "er", "fo", "in", "la", "mi", "na", "or", "re", "st", "ti", "un")
WORDS_OF_LINE = 10
LINES_OF_FILE = 100


class Stopwatch:
    """Seconds from each line of input to the first text that is written after it."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._asked: float | None = None

    def asked(self) -> None:
        """A line is handed over."""
        self._asked = time.perf_counter()

    def answered(self) -> None:
        """Text is there; only the first after a line counts."""
        if self._asked is not None:
            self.seconds.append(time.perf_counter() - self._asked)
            self._asked = None


class Asked(io.StringIO):
    """Standard input with a question a line."""

    def __init__(self, questions: tuple[str, ...], watch: Stopwatch) -> None:
        super().__init__("".join(f"{question}\n" for question in questions))
        self._watch = watch

    def readline(self, size: int = -1, /) -> str:
        """The next question."""
        line = super().readline(size)
        if line:
            self._watch.asked()
        return line


class Shown(io.StringIO):
    """Standard output."""

    def __init__(self, watch: Stopwatch) -> None:
        super().__init__()
        self._watch = watch

    def write(self, text: str, /) -> int:
        """Takes a piece of an answer."""
        self._watch.answered()
        return super().write(text)


def prose_reader(folder: Path) -> Reader:
    """The embedded model's tokenizer as that of a model that answers in prose, as Mini does.

    Its ids are ids of the larger vocabularies too.
    """
    nano = resolve("nano")
    for name in ("config.json", "tokenizer.tiktoken"):
        shutil.copyfile(nano / name, folder / name)
    config = json.loads((nano / "tokenizer_config.json").read_text(encoding="utf-8"))
    del config["answer_style"]
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return Reader(str(folder))


def random_document(reader: Reader, tokens: int) -> Document:
    """Files of random words whose prompt is as long as `tokens`, or a little shorter."""
    words = random.Random(0)
    lines = [
        " ".join("".join(words.choices(SYLLABLES, k=2)) for _ in range(WORDS_OF_LINE))
        for _ in range(tokens // WORDS_OF_LINE)  # a word takes a token at least
    ]
    while True:
        runs = [lines[at : at + LINES_OF_FILE] for at in range(0, len(lines), LINES_OF_FILE)]
        document = Document(
            tuple(Part(f"notes/{n}.txt", "\n".join(run) + "\n") for n, run in enumerate(runs))
        )
        found = len(reader.prompt(document, "").shared)
        if found <= tokens:
            return document
        del lines[len(lines) * tokens // found :]


def chat_step(engine: Engine, reader: Reader, tokens: int, folder: Path) -> dict[str, Any]:
    """Seconds to the first token in a chat whose context is `tokens`.

    The second question's is the median of all after the first.  `chat_question_tokens` is what the
    last one had to read.  `folder` is for saved contexts, of which none is written.
    """
    watch = Stopwatch()
    output = Output(stdout=Shown(watch), stderr=io.StringIO(), color="never")
    document = random_document(reader, tokens - ROOM_TOKENS)
    answerer = Answerer(
        engine, reader, NullReporter(output), SamplingParams(max_tokens=ANSWER_TOKENS)
    )
    saving = Saving(Settings(save=False), reader, output, None)
    saving.store = ContextStore(folder)
    conversation = Conversation(answerer, saving, document, context=tokens)
    conversation.begin()
    lines = Lines(Asked(QUESTIONS, watch), output.stdout, output.stderr)
    Repl(conversation, document, lines, output).run()
    first, *further = watch.seconds
    return {
        "chat_document_tokens": saving.account.readings[0].tokens,
        "chat_first_question_s": first,
        "chat_second_question_s": statistics.median(further),
        "chat_slowest_question_s": max(further),
        "chat_question_tokens": conversation.computed,
    }
