"""`jamba plan`: what fits the memory, before anything is downloaded or loaded."""

from __future__ import annotations

from typing import Annotated

import typer

from jamba_cli import options

Shape = Annotated[
    str | None,
    typer.Option(
        "--shape",
        metavar="NAME",
        help="A released shape in the place of a model: mini, 3b, large or tiny.",
        rich_help_panel="Model",
    ),
]
GpuMemory = Annotated[
    float | None,
    typer.Option(
        "--gpu-memory",
        metavar="GB",
        min=0.1,
        help="Plan for a GPU with this much free memory, in 1,000,000,000 bytes; "
        "default: what is free on the device now.",
        rich_help_panel="Model",
    ),
]


def plan(
    model: options.Model = None,
    shape: Shape = None,
    scheme: options.Scheme = None,
    keep: options.Keep = None,
    context: options.Context = None,
    chunk_tokens: options.ChunkTokens = None,
    gpu_memory: GpuMemory = None,
    device: options.Device = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    no_color: options.NoColor = False,
) -> None:
    """Show what a model needs in each scheme, what fits, and what would be picked.

    Exits with 5 and names the nearest setting that fits if what is asked for does not.
    """
    from jamba_cli import session, show_plan

    with session.start(
        json=json,
        quiet=quiet,
        no_color=no_color,
        model=model,
        device=device,
        scheme=scheme,
        context=context,
        chunk_tokens=chunk_tokens,
    ) as run:
        show_plan.show(run, shape, keep or (), gpu_memory)
