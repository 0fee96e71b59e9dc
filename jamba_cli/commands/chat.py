"""`jamba chat`: a conversation about the sources."""

from __future__ import annotations

from jamba_cli import options


# Long by its options: Typer reads them from the signature.
def chat(
    sources: options.ChatSources = None,
    include: options.Include = None,
    exclude: options.Exclude = None,
    pages: options.Pages = None,
    password_file: options.PasswordFile = None,
    pdf_order: options.PdfOrder = "auto",
    keep_headers: options.KeepHeaders = False,
    max_file_size: options.MaxFileSize = None,
    strict: options.Strict = False,
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
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    no_progress: options.NoProgress = False,
    no_color: options.NoColor = False,
) -> None:
    """Ask question after question about files, directories, PDFs or a saved context.

    The document is read once.  Questions come from the keyboard, or from a pipe, one a line; /help
    lists what else can be typed.  Answers are checked as those of ask.
    """
    from jamba_cli import reading, session, tasks
    from jamba_cli.chat import chatting
    from jamba_cli.contexts import opening
    from jamba_cli.windows import ANSWER_TOKENS

    with session.start(
        quiet=quiet, verbose=verbose, no_progress=no_progress, no_color=no_color, no_save=no_save,
        model=model, device=device, scheme=scheme, context=context, chunk_tokens=chunk_tokens,
        max_tokens=max_tokens,
    ) as run:  # fmt: skip
        params = tasks.sampling_params(
            run.settings.max_tokens or ANSWER_TOKENS,
            temperature, top_p, top_k, min_p, repetition_penalty, seed, None,
        )  # fmt: skip
        how = reading.read_options(
            run.output, include=include, exclude=exclude, pages=pages, pdf_order=pdf_order,
            keep_headers=keep_headers, max_file_size=max_file_size, password_file=password_file,
        )  # fmt: skip
        chatting.check_sources(sources)
        opened = opening.open_sources(sources, how, run, strict=strict, password_file=password_file)
        chatting.chat(opened, params)
