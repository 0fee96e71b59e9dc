"""The loop of `jamba chat`: a line in, an answer out, until Ctrl-D."""

from __future__ import annotations

from collections import Counter

from jamba_cli import interrupts
from jamba_cli.answering import Answer
from jamba_cli.chat.conversation import Conversation
from jamba_cli.chat.line_input import Lines
from jamba_cli.evidence import summarize_check
from jamba_cli.human import format_seconds
from jamba_cli.output import Output
from jamba_cli.sources.document import Document
from jamba_cli.sources.names import plural
from jamba_cli.terminal import visible
from runtime.errors import JambaError, UsageError

HELP = """\
Type a question. A backslash at a line's end goes on in the next line;
three double quotes alone on a line begin and end a text of several lines.
  /retry    answer the last question again
  /undo     take the last question and its answer back
  /new      take all of them back; the document stays read
  /sources  what is being asked
  /help     this
  /exit     leave, as Ctrl-D
Ctrl-C stops an answer."""


class Repl:
    """One chat session at a keyboard or from a pipe."""

    def __init__(
        self, conversation: Conversation, document: Document, lines: Lines, output: Output
    ) -> None:
        self._conversation = conversation
        self._document = document
        self._lines = lines
        self._output = output

    def run(self) -> None:
        """Answers until the input ends or /exit.

        At a keyboard a failure is said and the next question awaited; from a pipe it ends the run.
        """
        while True:
            text = self._read()
            if text is None or text in ("/exit", "/quit"):
                return
            if not text:
                continue
            try:
                self._do(text)
            except JambaError as error:
                if not self._lines.interactive:
                    raise
                self._output.error(error)

    def _read(self) -> str | None:
        if not self._lines.interactive:
            return self._lines.read()
        while True:
            try:
                with interrupts.staying():
                    text = self._lines.read()
            except KeyboardInterrupt:  # what was typed so far is given up
                self._output.note("")
                continue
            if text is None:
                self._output.note("")  # the shell's prompt begins on a line of its own
            return text

    def _do(self, text: str) -> None:
        chat = self._conversation
        if not text.startswith("/"):
            self._answer(text)
        elif text == "/retry":
            self._answer(None)
        elif text == "/undo":
            turn = chat.undo()
            self._say(f"taken back: {visible(turn.task.strip())}")
        elif text == "/new":
            chat.forget()
            self._say("all turns are taken back")
        elif text == "/sources":
            self._say(sources_text(self._document))
        elif text == "/help":
            self._say(HELP)
        else:
            raise UsageError(f"{visible(text)}: no such command", hint="/help lists them")

    def _say(self, text: str) -> None:
        """What was asked for by a command; from a pipe only answers go to standard output."""
        for line in text.splitlines():
            if self._lines.interactive:
                self._output.line(line)
            else:
                self._output.note(line)

    def _answer(self, question: str | None) -> None:
        output, chat = self._output, self._conversation
        try:
            if self._lines.interactive:
                with interrupts.staying():
                    answer = self._ask(question)
            else:
                answer = self._ask(question)
        except KeyboardInterrupt:
            output.end_answer()
            if not self._lines.interactive:
                raise
            output.note("stopped")
            return
        output.end_answer()
        if not answer.complete:
            output.warning(f"the answer was cut at --max-tokens {chat.max_tokens:,}")
        if answer.references or answer.found:
            output.note(summarize_check(answer.references))
        output.note(
            f"context: re-used {chat.prompt_tokens - chat.computed:,} of {chat.prompt_tokens:,} "
            f"tokens, computed {chat.computed:,}; first token after "
            f"{format_seconds(chat.first_token_s)}"
        )
        output.answer("\n")

    def _ask(self, question: str | None) -> Answer:
        chat = self._conversation
        if question is None:
            return chat.retry(self._output.answer)
        return chat.ask(question, self._output.answer)


def sources_text(document: Document) -> str:
    """The files that were read, one a line, with the number of their pages or cells."""
    parts = Counter(part.path for part in document.parts)
    pages = {part.path for part in document.parts if part.page is not None}
    return "\n".join(
        f"{path} ({plural(count, 'page')})" if path in pages else path
        for path, count in parts.items()
    )
