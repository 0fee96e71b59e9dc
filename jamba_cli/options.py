"""The options that commands share, as annotations: `def ask(model: Model = None, …)`.

None means "not given": settings.py then looks at the environment and the configuration file.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from jamba_cli.human import parse_count
from jamba_cli.settings import parse_device
from runtime.errors import JambaError


def count(text: str) -> int:
    """A parser for options that take a number such as 16k."""
    try:
        return parse_count(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _device(text: str) -> str:
    try:
        return parse_device(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def complete_model(incomplete: str) -> list[str]:
    """The names of models that begin so, for the shell."""
    from runtime.models import DEFAULT, KNOWN

    names = [DEFAULT, *(entry.name for entry in KNOWN)]
    return [name for name in names if name.startswith(incomplete)]


def complete_context(incomplete: str) -> list[str]:
    """The names of saved contexts that begin so, for the shell."""
    from jamba_cli.contexts.saving import open_store
    from jamba_cli.settings import load_settings

    try:
        names = [f"@{named.name}" for named in open_store(load_settings()).names()]
    except JambaError:  # the command itself says what is wrong
        return []
    return [name for name in names if name.startswith(incomplete)]


def complete_source(incomplete: str) -> list[str]:
    """Saved contexts where the word begins with @; paths are left to the shell."""
    return complete_context(incomplete) if incomplete.startswith("@") else []


_INPUT = "Input"
_MODEL = "Model"
_ANSWER = "Generation"
_OUTPUT = "Output"

Sources = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SRC",
        help="Files, directories, URLs of files, or - for standard input; "
        "standard input is read when it is piped and no source is named.",
        show_default=False,
    ),
]
SourcesOrSaved = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SRC",
        help="Files, directories, URLs of files, - for standard input, or @NAME for a saved "
        "context; standard input is read when it is piped and no source is named.",
        show_default=False,
        autocompletion=complete_source,
    ),
]
ChatSources = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SRC",
        help="Files, directories, URLs of files, or @NAME for a saved context.",
        show_default=False,
        autocompletion=complete_source,
    ),
]
Include = Annotated[
    list[str] | None,
    typer.Option(
        "--include",
        metavar="GLOB",
        help="Adds files that would be left out; patterns as in .gitignore. Repeatable.",
        rich_help_panel=_INPUT,
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude",
        metavar="GLOB",
        help="Leave these out; as in .gitignore. Repeatable.",
        rich_help_panel=_INPUT,
    ),
]
Pages = Annotated[
    str | None,
    typer.Option(
        "--pages",
        metavar="RANGES",
        help="Pages of the PDFs to read, such as 3-10,15.",
        rich_help_panel=_INPUT,
    ),
]
PasswordFile = Annotated[
    Path | None,
    typer.Option(
        "--password-file",
        metavar="FILE",
        help="File whose first line opens encrypted PDFs; else JAMBA_PDF_PASSWORD, else a prompt.",
        rich_help_panel=_INPUT,
    ),
]
PdfOrder = Annotated[
    Literal["auto", "stream", "columns"],
    typer.Option(
        "--pdf-order",
        metavar="auto|stream|columns",
        help="Order of the text on a PDF page: by columns where they are found (auto), "
        "as stored (stream), always by columns.",
        rich_help_panel=_INPUT,
    ),
]
KeepHeaders = Annotated[
    bool,
    typer.Option(
        "--keep-headers",
        help="Keep headers and footers that repeat on the pages of a PDF.",
        rich_help_panel=_INPUT,
    ),
]
MaxFileSize = Annotated[
    int | None,
    typer.Option(
        "--max-file-size",
        parser=count,
        metavar="SIZE",
        help="Leave out larger files found in directories. [default: 20M]",
        rich_help_panel=_INPUT,
    ),
]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict",
        help="Exit with 7 if something was skipped or damaged.",
        rich_help_panel=_INPUT,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME",
        help="Name, directory or Hub id; see 'jamba models'. [env: JAMBA_MODEL; default: nano]",
        autocompletion=complete_model,
        rich_help_panel=_MODEL,
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        parser=_device,
        metavar="DEVICE",
        help="auto, cpu, cuda, cuda:N or mps. [env: JAMBA_DEVICE; default: auto]",
        rich_help_panel=_MODEL,
    ),
]


class KeptPart(StrEnum):
    """A part of a model that a scheme may leave in 16 bits."""

    mamba = "mamba"
    attention = "attention"
    mlp = "mlp"
    experts = "experts"


Scheme = Annotated[
    Literal["none", "int8", "fp8", "nf4", "w8a8"] | None,
    typer.Option(
        "--scheme",
        metavar="none|int8|fp8|nf4|w8a8",
        help="How weights are held, w8a8 on CPUs only; default: as in the files, or the first "
        "that fits. [env: JAMBA_SCHEME]",
        rich_help_panel=_MODEL,
    ),
]
Keep = Annotated[
    list[KeptPart] | None,
    typer.Option(
        "--keep",
        metavar="mamba|attention|mlp|experts",
        help="Leave the projections of this part in 16 bits. Repeatable.",
        rich_help_panel=_MODEL,
    ),
]
Context = Annotated[
    int | None,
    typer.Option(
        "--context",
        parser=count,
        metavar="TOKENS",
        help="Most tokens to hold at once, such as 64k; default: the model's context.",
        rich_help_panel=_MODEL,
    ),
]
ChunkTokens = Annotated[
    int | None,
    typer.Option(
        "--chunk-tokens",
        parser=count,
        metavar="TOKENS",
        help="Tokens read at a time; fewer need less memory, more are faster.",
        rich_help_panel=_MODEL,
    ),
]
OverBudget = Annotated[
    Literal["windows", "fail", "drop"] | None,
    typer.Option(
        "--over-budget",
        metavar="windows|fail|drop",
        help="Input larger than the context: read it in windows, fail with exit code 4, or "
        "drop whole files or pages and list them. [default: windows]",
        rich_help_panel=_INPUT,
    ),
]
MaxTokens = Annotated[
    int | None,
    typer.Option(
        "--max-tokens",
        parser=count,
        metavar="TOKENS",
        help="Longest answer.",
        rich_help_panel=_ANSWER,
    ),
]
Temperature = Annotated[
    float,
    typer.Option(
        "--temperature",
        metavar="NUMBER",
        min=0,
        help="0 always takes the likeliest token, 1 samples as the model was trained.",
        rich_help_panel=_ANSWER,
    ),
]
TopP = Annotated[
    float | None,
    typer.Option(
        "--top-p",
        metavar="NUMBER",
        min=0,
        max=1,
        help="Sample from the likeliest tokens of this total probability.",
        rich_help_panel=_ANSWER,
    ),
]
TopK = Annotated[
    int | None,
    typer.Option(
        "--top-k",
        metavar="NUMBER",
        min=1,
        help="Sample from this many likeliest tokens.",
        rich_help_panel=_ANSWER,
    ),
]
MinP = Annotated[
    float | None,
    typer.Option(
        "--min-p",
        metavar="NUMBER",
        min=0,
        max=1,
        help="Leave out tokens below this share of the likeliest one's probability.",
        rich_help_panel=_ANSWER,
    ),
]
RepetitionPenalty = Annotated[
    float | None,
    typer.Option(
        "--repetition-penalty",
        metavar="NUMBER",
        min=0.01,
        help="Above 1 makes tokens that were used less likely.",
        rich_help_panel=_ANSWER,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        metavar="NUMBER",
        min=0,
        help="Makes sampling repeatable.",
        rich_help_panel=_ANSWER,
    ),
]
Stop = Annotated[
    list[str] | None,
    typer.Option(
        "--stop",
        metavar="TEXT",
        help="End the answer before this text. Repeatable.",
        rich_help_panel=_ANSWER,
    ),
]
NoSave = Annotated[
    bool,
    typer.Option(
        "--no-save",
        help="Do not keep on disk what was read; what was kept before is still used. "
        "[env: JAMBA_NO_SAVE]",
        rich_help_panel=_INPUT,
    ),
]
OutputFile = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Write the result to a file; Ctrl-C keeps the text so far as FILE.partial.",
        rich_help_panel=_OUTPUT,
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object.", rich_help_panel=_OUTPUT)
]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet",
        "-q",
        help="Show only the result, warnings and errors.",
        rich_help_panel=_OUTPUT,
    ),
]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Show more detail.", rich_help_panel=_OUTPUT)
]
NoProgress = Annotated[
    bool,
    typer.Option(
        "--no-progress", help="No moving bars; one line a phase.", rich_help_panel=_OUTPUT
    ),
]
NoColor = Annotated[
    bool, typer.Option("--no-color", help="No colour; as NO_COLOR.", rich_help_panel=_OUTPUT)
]
