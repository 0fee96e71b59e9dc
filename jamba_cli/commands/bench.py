"""`jamba bench`: tokens a second and memory, on a model or on a shape with random weights."""

from __future__ import annotations

from typing import Annotated

import typer

from jamba_cli import options

Shape = Annotated[
    str | None,
    typer.Option(
        "--shape",
        metavar="NAME",
        help="Random weights of a released shape: mini, 3b, large or tiny; nothing is downloaded.",
        rich_help_panel="Model",
    ),
]
Tokens = Annotated[
    list[int] | None,
    typer.Option(
        "--tokens",
        parser=options.count,
        metavar="COUNT",
        help="Prompt length to measure, such as 2k. Repeatable. [default: 512 and 2k]",
        rich_help_panel="Input",
    ),
]
DecodeTokens = Annotated[
    int,
    typer.Option(
        "--decode-tokens",
        min=1,
        help="Tokens generated after each prompt.",
        rich_help_panel="Generation",
    ),
]
Profile = Annotated[
    bool,
    typer.Option(
        "--profile",
        help="Take the last chunk of each prompt and a decode step after it apart, beside what the "
        "machine could do.",
    ),
]
Repeats = Annotated[
    int,
    typer.Option("--repeats", min=1, max=100, help="Times each is measured; the median counts."),
]


def bench(
    shape: Shape = None,
    tokens: Tokens = None,
    decode_tokens: DecodeTokens = 32,
    repeats: Repeats = 3,
    profile: Profile = False,
    model: options.Model = None,
    device: options.Device = None,
    scheme: options.Scheme = None,
    keep: options.Keep = None,
    chunk_tokens: options.ChunkTokens = None,
    output_file: options.OutputFile = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    no_color: options.NoColor = False,
) -> None:
    """Measure prefill and decode speed and memory."""
    from jamba_cli import session, show_bench, show_profile

    with session.start(
        json=json,
        quiet=quiet,
        no_color=no_color,
        path=output_file,
        model=model,
        device=device,
        scheme=scheme,
        chunk_tokens=chunk_tokens,
    ) as run:
        lengths = tokens or [512, 2048]
        engine, name = show_bench.open_engine(run, shape, keep or (), lengths, decode_tokens)
        if profile:
            show_profile.show(run, engine, name, lengths, repeats)
        else:
            show_bench.show(run, engine, name, lengths, decode_tokens, repeats)
