"""`jamba tokens`: how many tokens the sources have, before a model reads them."""

from __future__ import annotations

from jamba_cli import options


def tokens(
    sources: options.Sources = None,
    model: options.Model = None,
    include: options.Include = None,
    exclude: options.Exclude = None,
    pages: options.Pages = None,
    password_file: options.PasswordFile = None,
    pdf_order: options.PdfOrder = "auto",
    keep_headers: options.KeepHeaders = False,
    max_file_size: options.MaxFileSize = None,
    strict: options.Strict = False,
    output_file: options.OutputFile = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    no_progress: options.NoProgress = False,
    no_color: options.NoColor = False,
) -> None:
    """Count tokens by directory, file or page, exactly as the model will read them.

    Loads the model's tokenizer, never its weights.
    """
    from jamba_cli import reading, session, show_tokens

    with session.start(
        json=json, quiet=quiet, verbose=verbose, no_progress=no_progress, no_color=no_color,
        path=output_file, model=model,
    ) as run:  # fmt: skip
        how = reading.read_options(
            run.output, include=include, exclude=exclude, pages=pages, pdf_order=pdf_order,
            keep_headers=keep_headers, max_file_size=max_file_size, password_file=password_file,
        )  # fmt: skip
        document = reading.read_document(sources, how, run.output, run.reporter, strict=strict)
        show_tokens.show(document, run)
