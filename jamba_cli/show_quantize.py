"""Runs a conversion with its progress and says what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jamba_cli.human import format_bytes
from jamba_cli.session import Session


def quantize(
    run: Session,
    source: str,
    destination: Path,
    scheme: str,
    keep: Sequence[str],
    *,
    lm_head: bool,
) -> None:
    """Writes the quantized model and prints its directory, or one JSON object."""
    from runtime import hub
    from runtime.convert import convert
    from runtime.devices import pick_device
    from runtime.models import resolve
    from runtime.quantization import ALWAYS_KEPT, named

    directory = resolve(source)
    kept = {*keep, *(() if lm_head else ALWAYS_KEPT)}
    quantization = named(scheme, kept)
    assert quantization is not None
    run.reporter.phase("quantize", None, "bytes")

    def on_bytes(done: int, total: int) -> None:
        run.reporter.phase("quantize", total, "bytes")
        run.reporter.advance(done)

    device = pick_device(run.settings.device)
    written = convert(directory, destination, quantization, device=device, on_bytes=on_bytes)
    run.reporter.finish()
    size = hub.weight_bytes(destination)
    if not written:
        run.output.note("it was there already: nothing to do")
    run.output.note(f"{format_bytes(hub.weight_bytes(directory))} -> {format_bytes(size)}")
    if not run.output.json:
        run.output.line(str(destination))
        return
    run.output.result(
        {
            "schema_version": 1,
            "command": "quantize",
            "source": str(directory),
            "path": str(destination),
            "scheme": scheme,
            "keep": sorted(kept),
            "bytes": size,
            "written": written,
        }
    )
