"""`jamba ask`: a question to the sources."""

from __future__ import annotations

from typing import Annotated

import typer

from jamba_cli import options

Words = Annotated[
    list[str],
    typer.Argument(
        metavar="[SRC]... QUESTION",
        help="Files, directories, URLs of files, - for standard input, or @NAME for a saved "
        "context, and last the question; standard input is read when it is piped and no source "
        "is named.",
        show_default=False,
    ),
]


# Long by its options: Typer reads them from the signature.
def ask(
    words: Words,
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
    """Answer a question from files, directories, PDFs or what is piped in.

    Every reference in the answer is checked: a tick means that the quote stands there word for
    word.
    """
    from jamba_cli import reading, session, tasks
    from jamba_cli.contexts import opening
    from jamba_cli.task_run import run_task
    from jamba_cli.windows import ANSWER_TOKENS

    sources, question = tasks.split_question(words)
    with session.start(
        json=json, quiet=quiet, verbose=verbose, no_progress=no_progress, no_color=no_color,
        no_save=no_save, path=output_file,
        model=model, device=device, scheme=scheme, context=context, chunk_tokens=chunk_tokens,
        max_tokens=max_tokens, over_budget=over_budget,
    ) as run:  # fmt: skip
        params = tasks.sampling_params(
            run.settings.max_tokens or ANSWER_TOKENS,
            temperature, top_p, top_k, min_p, repetition_penalty, seed, stop,
        )  # fmt: skip
        how = reading.read_options(
            run.output, include=include, exclude=exclude, pages=pages, pdf_order=pdf_order,
            keep_headers=keep_headers, max_file_size=max_file_size, password_file=password_file,
        )  # fmt: skip
        opened = opening.open_sources(sources, how, run, strict=strict, password_file=password_file)
        run_task(tasks.question(question), opened, params)
