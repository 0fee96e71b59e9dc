"""A model as the commands use it: names resolved, texts in, token ids out; weights come later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from jamba_cli.chat.dialogue import Layout, Turn, choose_layout, conversation
from jamba_cli.prompts import prefix
from jamba_cli.sources.document import Document

if TYPE_CHECKING:
    from runtime.chat import ChatFormat
    from runtime.config import JambaConfig
    from runtime.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Prompt:
    """Token ids of a whole prompt: what every task on a document shares, and the task."""

    shared: list[int]
    task: list[int]

    @property
    def ids(self) -> list[int]:
        """All of them, in order."""
        return self.shared + self.task


class Reader:
    """Tokenizer, chat format and shape of one model; never loads weights."""

    def __init__(self, name: str) -> None:
        """Raises ModelError if the model is not here or is broken."""
        from runtime.models import resolve

        self.name = name
        self.directory: Path = resolve(name)

    @property
    def ref(self) -> str:
        """The name by which the model is found from any folder."""
        path = Path(self.name)
        return str(path.resolve()) if path.is_dir() else self.name

    @cached_property
    def config(self) -> JambaConfig:
        """The model's shape."""
        from runtime.config import JambaConfig

        return JambaConfig.from_json(self.directory)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""
        from runtime.tokenizer import Tokenizer

        return Tokenizer.load(self.directory)

    @cached_property
    def chat(self) -> ChatFormat:
        """How the model wants a conversation written."""
        from runtime.chat import ChatFormat

        return ChatFormat.load(self.directory, self.tokenizer)

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """Every id that ends an answer."""
        from runtime.chat import stop_ids

        return stop_ids(self.directory, self.tokenizer)

    @cached_property
    def style(self) -> str:
        """How the model answers: "quote" if it was trained to quote, else "prose"."""
        from runtime.tokenizer import read_json

        style = read_json(self.directory / "tokenizer_config.json").get("answer_style", "prose")
        return "quote" if style == "quote" else "prose"

    @cached_property
    def layout(self) -> Layout:
        """Where the document stands in a conversation."""
        return choose_layout(self.chat)

    def prompt(self, document: Document, task: str, turns: Sequence[Turn] = ()) -> Prompt:
        """The ids of a task on a document, after earlier turns about it."""
        return self._encode(prefix(document, style=self.style), turns, task)

    def after_document(self, task: str, turns: Sequence[Turn] = ()) -> list[int]:
        """The ids of `prompt(...)` that follow the document, which they do not depend on."""
        return self._encode("Text.", turns, task).task

    def _encode(self, shared: str, turns: Sequence[Turn], task: str) -> Prompt:
        messages = conversation(shared, turns, task, self.layout)
        return Prompt(*messages.encode(self.chat))
