"""Measures an engine and shows the figures with the hardware beside them."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib import metadata
from typing import TYPE_CHECKING

from jamba_cli.human import format_bytes
from jamba_cli.session import Session
from runtime.errors import UsageError

if TYPE_CHECKING:
    from runtime.bench import Measurement
    from runtime.engine import Engine


def show(
    run: Session,
    engine: Engine,
    name: str,
    lengths: Sequence[int],
    decode_tokens: int,
    repeats: int,
) -> None:
    """Measures every length and prints a table or one JSON object."""
    from runtime.bench import measure

    results = []
    for length in lengths:
        run.output.note(f"measuring {length:,} tokens")
        results.append(
            measure(
                engine,
                length,
                decode_tokens=decode_tokens,
                chunk_tokens=run.settings.chunk_tokens,
                repeats=repeats,
            )
        )
    if run.output.json:
        run.output.result(as_json(engine, name, results))
        return
    run.output.line(heading(engine, name), "bold")
    run.output.line(f"weights {format_bytes(engine.weights_nbytes)}, {_memory_line(engine)}")
    run.output.line()
    rows = [
        (
            f"{r.prompt_tokens:,}",
            f"{r.prefill_s:.2f}",
            f"{r.prefill_rate:,.0f}",
            f"{r.decode_rate:,.1f}",
            format_bytes(r.cache_bytes),
            *_memory_cells(r),
        )
        for r in results
    ]
    heads = ["prompt", "prefill s", "prefill tok/s", "decode tok/s", "cache"]
    if results[0].device_peak is not None:
        heads += ["peak", "planned", "off"]
    run.output.table(heads, rows, align=">" * len(heads))


def open_engine(
    run: Session, shape: str | None, keep: Sequence[str], lengths: Sequence[int], more: int
) -> tuple[Engine, str]:
    """Loads or makes the model for these lengths and `more` tokens after; also its name.

    Raises UsageError where they are over its context.
    """
    engine, name = _engine(run, shape, keep, max(lengths) + more)
    if max(lengths) > engine.config.max_context:  # what is decoded after it may go past
        raise UsageError(
            f"--tokens {max(lengths):,} is over the context of {engine.config.max_context:,}"
        )
    return engine, name


def heading(engine: Engine, name: str) -> str:
    """What was measured, and on what."""
    scheme = "" if engine.scheme == "none" else f" in {engine.scheme}"
    return f"{name}{scheme} on {hardware(engine)}"


def measured_on(engine: Engine, name: str) -> dict[str, object]:
    """What each JSON object of `jamba bench` begins with."""
    return {
        "schema_version": 1,
        "command": "bench",
        "model": name,
        "scheme": engine.scheme,
        "hardware": hardware(engine),
    }


def _memory_cells(result: Measurement) -> list[str]:
    """The measured peak of the device's memory, the plan's figure, and by how much it is off."""
    if result.device_peak is None:
        return []
    off = 100 * (result.planned / result.device_peak - 1)
    return [format_bytes(result.device_peak), format_bytes(result.planned), f"{off:+.1f} %"]


def _engine(
    run: Session, shape: str | None, keep: Sequence[str], context: int
) -> tuple[Engine, str]:
    from runtime.engine import Engine
    from runtime.models import resolve
    from runtime.quantization import ALWAYS_KEPT
    from runtime.shapes import shape as named_shape

    settings = run.settings
    kept = {*keep, *ALWAYS_KEPT}
    if shape is not None:
        run.output.note(f"making random weights of shape {shape}")
        engine = Engine.random(
            named_shape(shape),
            device=settings.device,
            scheme=settings.scheme,
            keep=kept,
            context=context,
            chunk_tokens=settings.chunk_tokens,
        )
        return engine, f"{shape} (random weights)"
    engine = Engine.load(
        resolve(settings.model),
        device=settings.device,
        scheme=settings.scheme,
        keep=kept,
        context=context,
        chunk_tokens=settings.chunk_tokens,
    )
    return engine, settings.model


def _memory_line(engine: Engine) -> str:
    from runtime.memory import peaks

    peak = peaks(engine.device, engine.weights_nbytes)
    words = [f"peak {format_bytes(peak['host_peak'])} of host memory"]
    if "device_peak" in peak:
        words.append(f"{format_bytes(peak['device_peak'])} of the device's")
    return ", ".join(words)


def hardware(engine: Engine) -> str:
    """The device and what runs on it, for a table's heading."""
    import torch

    if engine.device.type == "cuda":
        device = torch.cuda.get_device_name(engine.device)
    else:
        threads = torch.get_num_threads()
        capability = torch.backends.cpu.get_cpu_capability()
        device = f"{platform.machine()} CPU, {threads} threads, {capability}"
    triton = f", triton {version('triton')}" if engine.device.type == "cuda" else ""
    return f"{device}, torch {torch.__version__}{triton}"


def version(package: str) -> str:
    """The version of an installed package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "missing"


def as_json(engine: Engine, name: str, results: Sequence[Measurement]) -> dict[str, object]:
    """The object of `jamba bench --json`; see docs/reference/cli.md."""
    from runtime.memory import peaks

    return {
        **measured_on(engine, name),
        "weights_bytes": engine.weights_nbytes,
        "memory_bytes": peaks(engine.device, engine.weights_nbytes),
        "results": [
            {
                "prompt_tokens": r.prompt_tokens,
                "prefill_s": round(r.prefill_s, 4),
                "prefill_tokens_per_s": round(r.prefill_rate, 1),
                "decode_tokens": r.decode_tokens,
                "decode_s": round(r.decode_s, 4),
                "decode_tokens_per_s": round(r.decode_rate, 1),
                "cache_bytes": r.cache_bytes,
                "planned_bytes": r.planned,
                "device_peak_bytes": r.device_peak,
                "device_reserved_bytes": r.device_reserved,
            }
            for r in results
        ],
    }
