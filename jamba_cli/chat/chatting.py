"""Gets a chat ready: the document read and checked to fit, the model loaded, the input open."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jamba_cli.chat.line_input import Lines, history, history_path
from jamba_cli.contexts.opening import Opened
from jamba_cli.contexts.saving import Saving
from jamba_cli.progress import NullReporter
from jamba_cli.sources.names import plural
from jamba_cli.task_run import NANO, load_engine
from runtime.errors import UsageError

if TYPE_CHECKING:
    from runtime.sampling import SamplingParams


def check_sources(sources: Sequence[str] | None) -> None:
    """Raises UsageError where the sources would take standard input, which asks the questions."""
    if not sources or "-" in sources:
        raise UsageError(
            "chat reads its questions from standard input, so the sources must be named",
            hint="jamba chat SRC..., or: ... | jamba ingest - --name NAME; jamba chat @NAME",
        )


def chat(opened: Opened, params: SamplingParams) -> None:
    """Reads the document and answers until the input ends."""
    run, reader = opened.run, opened.reader
    output = run.output
    document = opened.read()
    from jamba_cli.chat.conversation import Conversation, check_fit

    context = run.settings.context or reader.config.max_context
    run.reporter.phase("tokenize", None, "tokens")
    shared = len(reader.prompt(document, "").shared)
    run.reporter.advance(shared)
    run.reporter.finish()
    files = {part.path for part in document.parts}
    name = next(iter(files)) if len(files) == 1 else plural(len(files), "file")
    check_fit(shared, context, params.max_tokens, name)
    if reader.style == "quote":
        output.note(NANO)
    engine = load_engine(reader, run, context)
    from jamba_cli.answering import Answerer
    from jamba_cli.chat.repl import Repl

    answerer = Answerer(
        engine, reader, run.reporter, params, chunk_tokens=run.settings.chunk_tokens
    )
    saving = Saving(run.settings, reader, output, opened.origin, keep=opened.kept)
    conversation = Conversation(answerer, saving, document, context=context)
    run.reporter.phase("prefill", shared, "tokens")
    conversation.begin()
    output.note(saving.account.line(shared))
    answerer.reporter = NullReporter(output)  # a turn is short, and the answer itself moves
    lines = Lines(sys.stdin, output.stdout, output.stderr)
    if lines.interactive:
        output.note("ask; /help lists the commands, Ctrl-D leaves")
    keep = lines.interactive and run.settings.save
    with history(history_path() if keep else None):
        Repl(conversation, document, lines, output).run()
