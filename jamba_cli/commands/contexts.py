"""`jamba contexts`: what is kept of what was read, and the ways to be rid of it."""

from __future__ import annotations

from typing import Annotated

import typer

from jamba_cli import options

app = typer.Typer(rich_markup_mode=None)

Ref = Annotated[
    str,
    typer.Argument(
        metavar="REF",
        help="@NAME, or the beginning of an id.",
        autocompletion=options.complete_context,
    ),
]
Refs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="REF",
        help="@NAME, or the beginning of an id.",
        show_default=False,
        autocompletion=options.complete_context,
    ),
]


@app.callback(invoke_without_command=True)
def contexts(
    context: typer.Context, json: options.Json = False, no_color: options.NoColor = False
) -> None:
    """List, show, check and remove saved contexts.

    A context is what a model made of a document while reading it, with the document's text: as
    confidential as the document.  Without a command: the list.
    """
    if context.invoked_subcommand is None:
        list_contexts(json=json, no_color=no_color)


@app.command("list")
def list_contexts(json: options.Json = False, no_color: options.NoColor = False) -> None:
    """List the contexts, the one used last first."""
    from jamba_cli import session
    from jamba_cli.contexts import show

    with session.start(json=json, no_color=no_color) as run:
        show.show_list(run)


@app.command()
def show(ref: Ref, json: options.Json = False, no_color: options.NoColor = False) -> None:
    """Show where a context comes from, what it holds, and where reading can go on."""
    from jamba_cli import session
    from jamba_cli.contexts import show

    with session.start(json=json, no_color=no_color) as run:
        show.show_one(ref, run)


@app.command("rm")
def remove(
    refs: Refs = None,
    everything: Annotated[bool, typer.Option("--all", help="Remove every context.")] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Remove contexts; says what that freed."""
    from jamba_cli import session
    from jamba_cli.contexts import remove

    with session.start(json=json, quiet=quiet) as run:
        remove.remove(refs or [], run, everything=everything)


@app.command()
def gc(json: options.Json = False, quiet: options.Quiet = False) -> None:
    """Remove leftovers, broken contexts, and the longest unused ones over the quota.

    Looks at manifests and lengths; `verify` reads every byte.
    """
    from jamba_cli import session
    from jamba_cli.contexts import remove

    with session.start(json=json, quiet=quiet) as run:
        remove.collect(run)


@app.command()
def verify(
    refs: Refs = None, json: options.Json = False, no_color: options.NoColor = False
) -> None:
    """Read contexts, all if none is named, and compare every byte with its checksum.

    Exits with 1 if one is damaged.
    """
    from jamba_cli import session
    from jamba_cli.contexts import show

    with session.start(json=json, no_color=no_color) as run:
        show.verify(refs or [], run)


@app.command()
def path(json: options.Json = False) -> None:
    """Print the folder that the contexts lie in."""
    from jamba_cli import session
    from jamba_cli.contexts import show

    with session.start(json=json) as run:
        show.show_path(run)
