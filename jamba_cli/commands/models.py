"""`jamba models`: what there is to read with, and the download of it."""

from __future__ import annotations

from typing import Annotated

import typer

from jamba_cli import options

app = typer.Typer(rich_markup_mode=None)

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="Name, directory or Hub id.",
        autocompletion=options.complete_model,
    ),
]


@app.callback(invoke_without_command=True)
def models(
    context: typer.Context, json: options.Json = False, no_color: options.NoColor = False
) -> None:
    """List models, show one, or download one.

    Without a command: the list.
    """
    if context.invoked_subcommand is None:
        list_models(json=json, no_color=no_color)


@app.command("list")
def list_models(json: options.Json = False, no_color: options.NoColor = False) -> None:
    """List the embedded, the local and the known models.

    The memory is that of the weights and of one full context, without workspace.
    """
    from jamba_cli import session, show_models

    with session.start(json=json, no_color=no_color) as run:
        show_models.show_list(run.output)


@app.command()
def info(name: Name, json: options.Json = False, no_color: options.NoColor = False) -> None:
    """Show what is known of a model: sizes, licence, memory by context."""
    from jamba_cli import session, show_models

    with session.start(json=json, no_color=no_color) as run:
        show_models.show_info(name, run.output)


@app.command()
def pull(
    name: Name,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    no_progress: options.NoProgress = False,
    no_color: options.NoColor = False,
) -> None:
    """Download a model from the Hugging Face Hub, or what is missing of it.

    HF_TOKEN is used for gated models, HF_HOME says where models are kept, HF_ENDPOINT names
    another Hub.
    """
    from jamba_cli import session, show_models

    with session.start(
        json=json, quiet=quiet, verbose=verbose, no_progress=no_progress, no_color=no_color
    ) as run:
        show_models.pull(name, run)
