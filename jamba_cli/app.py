"""The `jamba` command: what there is to run, and how an error becomes an exit code."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Sequence
from typing import Annotated, TextIO

import typer

from jamba_cli import interrupts
from jamba_cli.answer_file import keep_partial_files
from jamba_cli.commands import (
    ask,
    bench,
    chat,
    contexts,
    doctor,
    ingest,
    models,
    plan,
    quantize,
    summarize,
    tokens,
)
from jamba_cli.output import current, forget, write_stdout
from runtime.errors import JambaError, MemoryFitError

CLOSED_PIPE = 141
"""What a shell shows for a program that SIGPIPE ended; `jamba … | head -1` stops with it."""

app = typer.Typer(
    name="jamba",
    help="Read whole PDFs and codebases through a local long-context Jamba model.",
    epilog="Exit codes: 0 ok, 1 failed, 2 usage, 3 input unreadable, 4 over the token budget, "
    "5 out of memory, 6 model missing or broken, 7 partial under --strict, 130 interrupted.",
    context_settings={"help_option_names": ["-h", "--help"]},
    # rich's help takes 170 ms more than the plain one, which also reads well in a pipe.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command(short_help="Summarize documents or code.")(summarize.summarize)
app.command(short_help="Answer a question from documents or code.")(ask.ask)
app.command(short_help="Ask question after question.")(chat.chat)
app.command(short_help="Read ahead of time and keep what was read.")(ingest.ingest)
app.add_typer(contexts.app, name="contexts", short_help="List, check and remove what is kept.")
app.command(short_help="Count tokens by directory, file or page.")(tokens.tokens)
app.add_typer(models.app, name="models", short_help="List, show and download models.")
app.command(short_help="Check machine and installation; what is slow, and why.")(doctor.doctor)
app.command(short_help="Measure the speed of reading and answering.")(bench.bench)
app.command(short_help="Show what fits the memory, in which scheme.")(plan.plan)
app.command(short_help="Write a quantized copy of a model.")(quantize.quantize)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            number = version("jamba-cli")
        except PackageNotFoundError:
            number = "(run from its source, not installed)"
        current().line(f"jamba {number}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", callback=_show_version, is_eager=True
        ),
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        write_stdout(sys.stdout, context.get_help() + "\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line and returns its exit code; nothing else turns errors into codes.

    Without `argv` it is the process's own, and the process ends after it.
    """
    # OpenMP's threads spin for each other, which gets 20 times slower when another process wants a
    # core; this many turns (some 50 us) cost nothing when idle.  Read when torch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    _prepare_streams()
    forget()
    with interrupts.watched(_before_forced_exit, leaving=argv is None) as watch:
        try:
            code = _run(list(sys.argv[1:] if argv is None else argv), watch)
        except BrokenPipeError:  # also of stderr, while an error was shown
            code = CLOSED_PIPE
        return _flushed(code)


def _run(argv: list[str], watch: interrupts.Watch) -> int:
    command = typer.main.get_command(app)
    try:
        if "_JAMBA_COMPLETE" in os.environ:
            command.main(argv, prog_name="jamba")
        with command.make_context("jamba", argv) as context:
            command.invoke(context)
    except typer.Exit as leave:
        return leave.exit_code
    except SystemExit as leave:  # Typer's own completion commands
        return leave.code if isinstance(leave.code, int) else 0
    except BrokenPipeError:
        raise
    except (KeyboardInterrupt, interrupts.Terminated):
        return _stopped(watch)
    except Exception as error:  # noqa: BLE001  the one place that catches everything
        # A library may turn the interrupt into an error of its own, as imports of C code do.
        return _report(error) if watch.code is None else _stopped(watch)
    return 0


def _stopped(watch: interrupts.Watch) -> int:
    code = watch.code or interrupts.INTERRUPTED
    watch.told = True
    output = current()
    output.note("interrupted" if code == interrupts.INTERRUPTED else "terminated")
    if output.if_stopped is not None and (text := output.if_stopped()):
        output.note(text)
    return code


def _report(error: Exception) -> int:
    """Shows an error and returns its exit code."""
    output = current()
    if os.environ.get("JAMBA_DEBUG"):
        output.trace(error)
    if isinstance(error, typer.TyperException):
        output.error(_usage_error(error))
        return error.exit_code
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        error = MemoryFitError(
            "out of memory",
            hint="try fewer --chunk-tokens, a smaller --context or a smaller model",
        )
    elif isinstance(error, OSError) and error.errno == errno.ENOSPC:
        error = JambaError(f"no space left for {error.filename or 'standard output'}")
    elif not isinstance(error, JambaError):
        error = JambaError(
            f"internal: {type(error).__name__}: {error}",
            hint="JAMBA_DEBUG=1 shows the traceback",
        )
    output.error(error)
    return error.exit_code


def _usage_error(error: typer.TyperException) -> JambaError:
    message = error.format_message().rstrip(".").replace(": Value error, ", ": ")
    if message[1:2].islower():
        message = message[0].lower() + message[1:]
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "jamba"
    return JambaError(message, hint=f"see '{path} --help'")


def _prepare_streams() -> None:
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:  # closed by the caller: a file opened later must not take its number
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115
        elif name != "stdin" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _flushed(code: int) -> int:
    """Flushes stdout while an error can still be told; after that, shutdown has nothing to say."""
    try:
        write_stdout(sys.stdout, "")
    except BrokenPipeError:
        code = CLOSED_PIPE
    except JambaError as error:
        if code == 0:
            code = _report(error)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            _discard_unwritable(stream)
    return code


def _discard_unwritable(stream: TextIO) -> None:
    """Points a stream that can't take its last text at nothing, or Python complains at its end."""
    try:
        stream.flush()
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def _before_forced_exit(code: int, told: bool) -> None:
    keep_partial_files()
    word = "interrupted" if code == interrupts.INTERRUPTED else "terminated"
    # The bar hides the cursor, and the main thread may hold the streams' locks.
    show_cursor = "\x1b[?25h\n" if os.isatty(2) else ""
    with contextlib.suppress(OSError):
        os.write(2, (show_cursor + ("" if told else f"{word}\n")).encode())
    say_more = current().if_stopped
    if say_more is not None and not told and (text := say_more()):
        with contextlib.suppress(OSError):
            os.write(2, f"{text}\n".encode())
