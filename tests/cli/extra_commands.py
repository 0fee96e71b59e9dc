"""`jamba` with commands that end in every way a command can end; run as a script by the tests."""

from __future__ import annotations

import hashlib
import sys
import threading
import time
from pathlib import Path
from typing import Annotated

import typer

from jamba_cli.app import app, main
from jamba_cli.output import Output
from jamba_cli.progress import make_reporter
from runtime.errors import BudgetError

OutputFile = Annotated[Path | None, typer.Option("-o")]


@app.command()
def expected() -> None:
    raise BudgetError("a\x1b[31mb.pdf is\ntoo long", hint="drop [bold]it[/bold]")


@app.command()
def bug() -> None:
    raise KeyError("no such thing")


@app.command()
def memory() -> None:
    raise MemoryError


@app.command()
def stream(words: int, output: OutputFile = None, pause: float = 0.0) -> None:
    with Output(path=output) as out:
        for number in range(words):
            out.answer(f"word{number} ")
            time.sleep(pause)
        out.end_answer()


@app.command()
def spoiled(output: OutputFile = None) -> None:
    with Output(path=output) as out:
        out.answer("half of it")
        raise BudgetError("stop")


@app.command()
def sleep() -> None:
    with Output() as out:
        out.note("ready")
        time.sleep(30)


@app.command()
def busy(output: OutputFile = None) -> None:
    """Stays in one call of C code that no signal handler can interrupt."""
    with Output(path=output) as out:
        out.answer("so far\n")
        out.note("ready")
        hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)


@app.command()
def translated() -> None:
    """Turns an interrupt into an error of its own, as imports of C code do."""
    with Output() as out:
        out.note("ready")
        try:
            time.sleep(30)
        except KeyboardInterrupt:
            raise ImportError("something failed") from None


@app.command()
def lingering() -> None:
    """Leaves a thread behind that the interpreter waits for at its end."""
    with Output() as out:
        threading.Thread(target=time.sleep, args=(30,)).start()
        out.note("ready")
        time.sleep(30)


@app.command()
def silent(quiet: Annotated[bool, typer.Option("-q")] = False) -> None:
    """Works for long without a word on stdout."""
    with Output(quiet=quiet) as out:
        reporter = make_reporter(out)
        reporter.phase("prefill", 10_000, "tokens")
        out.warning("ready")
        for done in range(10_000):
            reporter.advance(done)
            time.sleep(0.01)


if __name__ == "__main__":
    sys.exit(main())
