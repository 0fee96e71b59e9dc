"""`jamba ingest`: the reading ahead of time, so that questions cost seconds."""

from __future__ import annotations

from typing import Annotated

import typer

from jamba_cli import options

Name = Annotated[
    str | None,
    typer.Option(
        "--name",
        metavar="NAME",
        help="Ask it as @NAME from now on; a name that is taken moves to this reading.",
        rich_help_panel="Input",
    ),
]
Update = Annotated[
    str | None,
    typer.Option(
        "--update",
        metavar="@NAME",
        help="Read the sources of this context again, and compute only what has changed.",
        rich_help_panel="Input",
    ),
]


def ingest(
    sources: options.Sources = None,
    name: Name = None,
    update: Update = None,
    include: options.Include = None,
    exclude: options.Exclude = None,
    pages: options.Pages = None,
    password_file: options.PasswordFile = None,
    pdf_order: options.PdfOrder = "auto",
    keep_headers: options.KeepHeaders = False,
    max_file_size: options.MaxFileSize = None,
    strict: options.Strict = False,
    over_budget: options.OverBudget = None,
    model: options.Model = None,
    device: options.Device = None,
    scheme: options.Scheme = None,
    context: options.Context = None,
    chunk_tokens: options.ChunkTokens = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    no_progress: options.NoProgress = False,
    no_color: options.NoColor = False,
) -> None:
    """Read files, directories or PDFs ahead of time and keep what the model made of them.

    A later ask, summarize or chat on the same text picks it up by itself, or by @NAME without the
    sources.  Interrupted, it keeps what it has: the same command goes on from there.
    """
    from jamba_cli import reading, session
    from jamba_cli.contexts import ingesting, opening

    with session.start(
        json=json, quiet=quiet, verbose=verbose, no_progress=no_progress, no_color=no_color,
        model=model, device=device, scheme=scheme, context=context, chunk_tokens=chunk_tokens,
        over_budget=over_budget,
    ) as run:  # fmt: skip
        how = reading.read_options(
            run.output, include=include, exclude=exclude, pages=pages, pdf_order=pdf_order,
            keep_headers=keep_headers, max_file_size=max_file_size, password_file=password_file,
        )  # fmt: skip
        if update is not None:
            ingesting.update(update, sources, how, run, name=name, strict=strict)
            return
        opened = opening.open_sources(sources, how, run, strict=strict, password_file=password_file)
        ingesting.ingest(opened, name)
