"""What every command begins with: its settings, its output and its reporter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from jamba_cli.output import Output
from jamba_cli.progress import Reporter, make_reporter
from jamba_cli.settings import Settings, load_settings


@dataclass(frozen=True, slots=True)
class Session:
    """One run of a command."""

    settings: Settings
    output: Output
    reporter: Reporter


@contextmanager
def start(
    *,
    json: bool = False,
    quiet: bool = False,
    verbose: bool = False,
    no_progress: bool = False,
    no_color: bool = False,
    no_save: bool = False,
    path: Path | None = None,
    **flags: object,
) -> Iterator[Session]:
    """Opens the output, and closes it however the command ends.

    `flags` are the command line's values of settings, None where not given; `path` is `-o`.
    """
    flags["color"] = "never" if no_color else None
    flags["progress"] = False if no_progress else None
    flags["save"] = False if no_save else None
    settings = load_settings(flags)
    output = Output(json=json, quiet=quiet, verbose=verbose, color=settings.color, path=path)
    with output:
        reporter = make_reporter(output, progress=settings.progress)
        yield Session(settings, output, reporter)
        reporter.finish()
