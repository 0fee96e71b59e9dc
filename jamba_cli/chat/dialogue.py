"""How a document and the turns about it become the messages of a model's own chat format.

The document comes first and must stay a prefix of every prompt, whatever is asked and however long
the conversation gets, or nothing that was read of it could be used again.  Most formats keep the
first message as it is.  Some move text: Reasoning's template writes an instruction in front of the
last question, and with the document in that message the instruction would stand in front of it.
So the layouts are tried on a short stand-in, and the first in which the document stays a prefix is
taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from runtime.errors import TokenizerError

if TYPE_CHECKING:
    from runtime.chat import ChatFormat, Message

Layout = Literal["question", "system", "turn"]
"""Where the document stands: before the first question, in a system turn, in a turn of its own."""

LAYOUTS: tuple[Layout, ...] = ("question", "system", "turn")
"""In the order of preference; the embedded model was trained with the first."""

ACKNOWLEDGED = "I have read the document."
"""What the model is made to say after a document that has a turn of its own."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A task as it was put, and the model's answer to it as it was written."""

    task: str
    answer: str


@dataclass(frozen=True, slots=True)
class Messages:
    """A conversation whose message `document` begins with the document, `at` characters long."""

    before: tuple[Message, ...]
    document: Message
    after: tuple[Message, ...]
    at: int

    def encode(self, chat: ChatFormat) -> tuple[list[int], list[int]]:
        """The ids up to the document's end, and the ids after it."""
        return chat.split_encode(self.document, self.at, before=self.before, after=self.after)


def conversation(shared: str, turns: Sequence[Turn], task: str, layout: Layout) -> Messages:
    """The messages of a task after earlier turns; `shared` is `prompts.prefix` of the document."""
    from runtime.chat import Message

    later: list[Message] = []
    for turn in turns:
        later += [Message("user", turn.task.lstrip()), Message("assistant", turn.answer)]
    later.append(Message("user", task.lstrip()))
    if layout == "system":
        return Messages((), Message("system", shared), tuple(later), len(shared))
    if layout == "turn":
        later.insert(0, Message("assistant", ACKNOWLEDGED))
        return Messages((), Message("user", shared), tuple(later), len(shared))
    first = turns[0].task if turns else task
    return Messages((), Message("user", shared + first), tuple(later[1:]), len(shared))


def choose_layout(chat: ChatFormat) -> Layout:
    """The first layout in which the document is a prefix of one question and of a conversation.

    Where no layout is (a template without memory of earlier turns), the first: one question after
    the other still shares the document.
    """
    for layout in LAYOUTS:
        if _keeps_prefix(chat, layout):
            return layout
    return LAYOUTS[0]


def _keeps_prefix(chat: ChatFormat, layout: Layout) -> bool:
    past = [Turn("\n\nfirst", "one"), Turn("\n\nsecond", "two")]
    try:
        begun = [
            conversation("Text.", turns, "\n\nwhat?", layout).encode(chat)[0]
            for turns in ([], past[:1], past)
        ]
    except TokenizerError:  # a template may refuse a role or an order of turns
        return False
    return begun[0] == begun[1] == begun[2]
