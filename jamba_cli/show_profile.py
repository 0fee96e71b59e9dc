"""Where a chunk's and a decode step's time goes, as a table or one JSON object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from jamba_cli.session import Session
from jamba_cli.show_bench import heading, measured_on

if TYPE_CHECKING:
    from runtime.engine import Engine
    from runtime.profiling import Ceilings, Profile


def show(run: Session, engine: Engine, name: str, lengths: Sequence[int], repeats: int) -> None:
    """Profiles the last chunk of each length, and a decode step after it."""
    from runtime.profiling import measure_ceilings, profile_step

    ceilings = measure_ceilings(engine, engine.chunk_tokens)
    profiles = []
    for length in lengths:
        chunk = min(run.settings.chunk_tokens or engine.chunk_tokens, length)
        for past, new in ((length - chunk, chunk), (length, 1)):
            run.output.note(f"profiling {new:,} tokens after {past:,}")
            profiles.append(profile_step(engine, ceilings, past, new, repeats=repeats))
    if run.output.json:
        run.output.result(as_json(engine, name, ceilings, profiles))
        return
    run.output.line(heading(engine, name), "bold")
    run.output.line(_ceilings_line(ceilings))
    for profile in profiles:
        run.output.line()
        run.output.line(f"{profile.new:,} tokens after {profile.past:,}", "bold")
        heads = ("part", "ms", "share", "floor ms", "reached", "bound by")
        run.output.table(heads, rows(profile), align="<>>>><")


def rows(profile: Profile) -> list[tuple[str, ...]]:
    """The parts from the longest to the shortest, the rest, the sum."""
    found: list[tuple[str, float, float, str]] = [
        (part.part, part.seconds, part.floor_s, part.bound_by)
        for part in sorted(profile.parts, key=lambda part: -part.seconds)
    ]
    found.append(("launch gaps, rest", max(0.0, profile.rest_s), 0.0, ""))
    found.append(("step", profile.step_s, profile.floor_s, ""))
    return [
        (
            name,
            f"{seconds * 1e3:.2f}",
            f"{100 * seconds / profile.step_s:.0f} %",
            f"{floor_s * 1e3:.2f}" if floor_s else "",
            f"{100 * floor_s / seconds:.0f} %" if floor_s and seconds > 0 else "",
            bound,
        )
        for name, seconds, floor_s, bound in found
    ]


def _ceilings_line(ceilings: Ceilings) -> str:
    words = [f"products {ceilings.flop / 1e12:,.1f} TFLOP/s"]
    if ceilings.fp8_flop != ceilings.flop:
        words.append(f"in fp8 {ceilings.fp8_flop / 1e12:,.1f}")
    words.append(f"copies {ceilings.bytes / 1e9:,.0f} GB/s")
    if ceilings.exponentials:
        words.append(f"{ceilings.exponentials / 1e9:,.1f} G exponentials/s")
    return "ceilings: " + ", ".join(words)


def as_json(
    engine: Engine, name: str, ceilings: Ceilings, profiles: Sequence[Profile]
) -> dict[str, object]:
    """The object of `jamba bench --profile --json`; see docs/reference/cli.md."""
    return {
        **measured_on(engine, name),
        "ceilings": ceilings_json(ceilings),
        "profiles": [profile_json(profile) for profile in profiles],
    }


def ceilings_json(ceilings: Ceilings) -> dict[str, float]:
    """The rates a second."""
    return {
        "flop_per_s": ceilings.flop,
        "fp8_flop_per_s": ceilings.fp8_flop,
        "bytes_per_s": ceilings.bytes,
        "exponentials_per_s": ceilings.exponentials,
    }


def profile_json(profile: Profile) -> dict[str, Any]:
    """One step."""
    return {
        "past_tokens": profile.past,
        "new_tokens": profile.new,
        "step_s": profile.step_s,
        "floor_s": profile.floor_s,
        "rest_s": profile.rest_s,
        "launches": profile.launches,
        "parts": [asdict(part) for part in profile.parts],
        "kernels": [asdict(kernel) for kernel in profile.kernels],
    }
