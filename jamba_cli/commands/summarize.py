"""`jamba summarize`: what stands in the sources, in short."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from jamba_cli import options


class Format(StrEnum):
    """How a summary is written."""

    markdown = "markdown"
    text = "text"
    json = "json"


Length = Annotated[
    str,
    typer.Option(
        "--length",
        metavar="LENGTH",
        help="short, medium, long, or a number of words such as '300 words'.",
        rich_help_panel="Generation",
    ),
]
Focus = Annotated[
    str | None,
    typer.Option("--focus", metavar="TEXT", help="What to look for.", rich_help_panel="Generation"),
]
FormatOption = Annotated[
    Format,
    typer.Option(
        "--format",
        "-f",
        metavar="markdown|text|json",
        help="Markdown, plain text, or one JSON object.",
        rich_help_panel="Output",
    ),
]


# Long by its options: Typer reads them from the signature.
def summarize(
    sources: options.SourcesOrSaved = None,
    length: Length = "medium",
    focus: Focus = None,
    style: FormatOption = Format.markdown,
    include: options.Include = None,
    exclude: options.Exclude = None,
    pages: options.Pages = None,
    password_file: options.PasswordFile = None,
    pdf_order: options.PdfOrder = "auto",
    keep_headers: options.KeepHeaders = False,
    max_file_size: options.MaxFileSize = None,
    strict: options.Strict = False,
    over_budget: options.OverBudget = None,
    no_save: options.NoSave = False,
    model: options.Model = None,
    device: options.Device = None,
    scheme: options.Scheme = None,
    context: options.Context = None,
    chunk_tokens: options.ChunkTokens = None,
    max_tokens: options.MaxTokens = None,
    temperature: options.Temperature = 0.0,
    top_p: options.TopP = None,
    top_k: options.TopK = None,
    min_p: options.MinP = None,
    repetition_penalty: options.RepetitionPenalty = None,
    seed: options.Seed = None,
    stop: options.Stop = None,
    output_file: options.OutputFile = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    no_progress: options.NoProgress = False,
    no_color: options.NoColor = False,
) -> None:
    """Summarize files, directories, PDFs or what is piped in.

    Every reference in the summary is checked: a tick means that the quote stands there word for
    word.
    """
    from jamba_cli import reading, session, tasks
    from jamba_cli.contexts import opening
    from jamba_cli.task_run import run_task

    words = tasks.parse_length(length)
    with session.start(
        json=json or style == Format.json, quiet=quiet, verbose=verbose,
        no_progress=no_progress, no_color=no_color, no_save=no_save, path=output_file,
        model=model, device=device, scheme=scheme, context=context, chunk_tokens=chunk_tokens,
        max_tokens=max_tokens, over_budget=over_budget,
    ) as run:  # fmt: skip
        params = tasks.sampling_params(
            run.settings.max_tokens or tasks.summary_max_tokens(words),
            temperature, top_p, top_k, min_p, repetition_penalty, seed, stop,
        )  # fmt: skip
        how = reading.read_options(
            run.output, include=include, exclude=exclude, pages=pages, pdf_order=pdf_order,
            keep_headers=keep_headers, max_file_size=max_file_size, password_file=password_file,
        )  # fmt: skip
        opened = opening.open_sources(sources, how, run, strict=strict, password_file=password_file)
        task = tasks.summary(opened.reader.style, words, focus, plain=style == Format.text)
        run_task(task, opened, params)
