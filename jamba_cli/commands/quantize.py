"""`jamba quantize`: a model to a smaller one that loads by copying."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from jamba_cli import options

Source = Annotated[
    str,
    typer.Argument(
        metavar="SRC",
        help="Name, directory or Hub id of the model to quantize.",
        autocompletion=options.complete_model,
    ),
]
Destination = Annotated[
    Path, typer.Argument(metavar="DST", help="A new directory, or one to go on with.")
]
Scheme = Annotated[
    Literal["int8", "fp8", "nf4"],
    typer.Option("--scheme", metavar="int8|fp8|nf4", help="How weights are held."),
]
LmHead = Annotated[
    bool, typer.Option("--lm-head", help="Quantize the output head too, where it is not tied.")
]


def quantize(
    source: Source,
    destination: Destination,
    scheme: Scheme,
    keep: options.Keep = None,
    lm_head: LmHead = False,
    device: options.Device = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    no_progress: options.NoProgress = False,
    no_color: options.NoColor = False,
) -> None:
    """Write a quantized copy of a model, to be named by --model like any other.

    Ctrl-C loses nothing: the same command goes on where it stopped.
    """
    from jamba_cli import session, show_quantize

    with session.start(
        json=json,
        quiet=quiet,
        verbose=verbose,
        no_progress=no_progress,
        no_color=no_color,
        device=device,
    ) as run:
        show_quantize.quantize(run, source, destination, scheme, keep or (), lm_head=lm_head)
