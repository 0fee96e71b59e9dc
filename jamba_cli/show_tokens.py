"""Counts a document's tokens and shows them as a tree or as JSON."""

from __future__ import annotations

from collections.abc import Callable

from jamba_cli.output import Output
from jamba_cli.progress import Reporter
from jamba_cli.session import Session
from jamba_cli.sources.document import Document
from jamba_cli.token_count import TokenCount, as_json, count_tokens, tree


def show(document: Document, run: Session) -> None:
    """Counts with the tokenizer of the session's model, and prints the result."""
    from runtime.config import JambaConfig
    from runtime.models import resolve
    from runtime.tokenizer import Tokenizer

    directory = resolve(run.settings.model)
    context = run.settings.context or JambaConfig.from_json(directory).max_context
    tokenizer = Tokenizer.load(directory)
    count = count_tokens(document, tokenizer, _characters(run.reporter))
    run.reporter.phase("tokenize", None, "tokens")
    run.reporter.advance(count.total)
    run.reporter.finish()
    if run.output.json:
        run.output.result(as_json(count, run.settings.model, context, run.output.warnings))
    else:
        _print_tree(count, run.output)
        _print_total(count, run.settings.model, context, run.output)


def _characters(reporter: Reporter) -> Callable[[int, int], None]:
    """Shows the characters done; how many tokens they are is known only at the end."""
    reporter.phase("tokenize", None, "characters")

    def show(done: int, total: int) -> None:
        reporter.phase("tokenize", total, "characters")
        reporter.advance(done)

    return show


def _print_tree(count: TokenCount, output: Output) -> None:
    total = max(count.total, 1)
    rows = [(f"{tokens:,}", f"{tokens / total:.1%}", name) for tokens, name in tree(count).rows()]
    output.table(("tokens", "share", "source"), rows, align=">>")
    for skipped in count.document.skipped:
        output.line(f"{'-':>6}  left out: {skipped.path}: {skipped.reason}", "dim")


def _print_total(count: TokenCount, model: str, context: int, output: Output) -> None:
    output.line()
    output.line(f"{count.total:,} tokens of {model}", "bold")
    times = count.total / context
    if times > 1:
        words = f"{times:.1f} times its context of {context:,} tokens; it will be read in windows"
        output.line(words, "yellow")
    else:
        output.line(f"{times:.1%} of its context of {context:,} tokens")
