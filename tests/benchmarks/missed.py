"""What of the figures is not reached, and what bounds it by the session's own measurements."""

from __future__ import annotations

from typing import Any

from tests.benchmarks.figures import FIGURES, LONG, RESTORE, RESTORE_COLD, SCAN, Figure, Results
from tests.benchmarks.tables import table

READ_WEIGHTS = ("moe", "dense mlp", "mamba projections", "attention projections", "head")
"""Parts that are products with weights."""

SHOWN_S = 2e-5
"""Less over a floor than this is not shown."""


def missed(results: Results) -> list[str]:
    """Paragraphs; none if everything that was measured is reached."""
    figures = [figure for figure in FIGURES if is_missed(figure, results)]
    steps = [figure for figure in figures if figure.step]
    found = []
    if steps:
        rows = [decode_row(figure, results) for figure in steps]
        heads = ["", "ms a token", "wanted", "floor", "floor by"]
        found.append("\n".join(table(heads, rows, 1, 4)))
        found += over_floors(results, list(dict.fromkeys(f.step[0] for f in steps if f.step)))
    if RESTORE in figures or RESTORE_COLD in figures:
        found.append(restore_words(results["contexts"]))
    if SCAN in figures:
        found.append(scan_words(SCAN.value(results), results[f"fp8:profile:chunk:{LONG}"]))
    explained = (RESTORE, RESTORE_COLD, SCAN)
    others = [f.what for f in figures if not f.step and f not in explained]
    if others:
        found.append(f"Also missed: {'; '.join(others)}.")
    return found


def is_missed(figure: Figure, results: Results) -> bool:
    """Whether it was measured and is not reached."""
    try:
        return figure.verdict(results)[1] == "no"
    except (KeyError, TypeError):
        return False


def decode_row(figure: Figure, results: Results) -> list[str]:
    """Milliseconds of a decode step: measured, wanted, and the least."""
    assert figure.step is not None
    floor_s, by = step_floor_s(*figure.step, results)
    milliseconds = (1 / figure.value(results), 1 / figure.reach, floor_s)
    shown = [f"{each * 1e3:.2f}" if each else "" for each in milliseconds]
    return [figure.what, *shown, by]


def step_profile(results: Results, group: str) -> dict[str, Any] | None:
    """A group's decode step, taken apart at the greatest depth."""
    found = [values for key, values in results.items() if key.startswith(f"{group}:profile:step:")]
    return max(found, key=lambda values: values["past_tokens"], default=None)


def step_floor_s(group: str, tokens: int, results: Results) -> tuple[float, str]:
    """The least that a decode step takes after so many tokens, and what it was made of.

    Without a profile it is all weights and the keys; 0 if no rate was measured.
    """
    profile = step_profile(results, group)
    if profile:
        keys_s = sum(p["floor_s"] for p in profile["parts"] if p["part"] == "attention")
        other = 1 - tokens / profile["past_tokens"]
        return profile["floor_s"] - keys_s * other, "parts"
    rates = [each["bytes_per_s"] for key, each in results.items() if key.endswith(":ceilings")]
    held = results.get(f"{group}:weights")
    if not rates or not held:
        return 0.0, ""
    plan = held["plan"]
    keys = plan["kv_cache"] * tokens / plan["context"]
    return (held["weights_bytes"] + keys) / max(rates), "weights and keys"


def over_floors(results: Results, groups: list[str]) -> list[str]:
    """How far each part of a decode step is over its floor, by group."""
    profiles = {group: step_profile(results, group) for group in groups}
    over = {
        group: {p["part"]: p["seconds"] - p["floor_s"] for p in profile["parts"]}
        for group, profile in profiles.items()
        if profile
    }
    if not over:
        return []
    largest: dict[str, float] = {}
    for parts in over.values():
        for part, seconds in parts.items():
            largest[part] = max(seconds, largest.get(part, 0.0))
    shown = sorted((p for p in largest if largest[p] > SHOWN_S), key=lambda p: -largest[p])
    rows = []
    for group, parts in over.items():
        products = sum(parts.get(part, 0.0) for part in READ_WEIGHTS)
        cells = [f"{parts.get(part, 0.0) * 1e3:.2f}" for part in shown]
        rows.append([group, *cells, f"{products * 1e3:.2f} of {sum(parts.values()) * 1e3:.2f}"])
    depth = max(profile["past_tokens"] for profile in profiles.values() if profile)
    return [
        "A floor is what a step's bytes take at the rate of a copy, which was measured in the same "
        f"run. Milliseconds over the floors in a step after {depth:,} tokens, by part:",
        "\n".join(table(["", *shown, "in products with weights"], rows)),
        "What is not in these products is in kernels of one row that move next to nothing: they "
        "take what a launch takes.",
    ]


def scan_words(nanoseconds: float, profile: dict[str, Any]) -> str:
    """How far the scan is from its floor, and what it is of a chunk."""
    (scan,) = (part for part in profile["parts"] if part["part"] == "scan")
    share = scan["seconds"] / profile["step_s"]
    least = nanoseconds * scan["floor_s"] / scan["seconds"]
    return (
        f"The scan takes {nanoseconds:.0f} ns for a token of a layer, where its {scan['bound_by']} "
        f"alone take {least:.0f} ns. It is {100 * share:.0f} % of a chunk in fp8."
    )


def restore_words(found: dict[str, Any]) -> str:
    """Why restoring takes longer than reading."""
    size, seconds, raw_s = found["nbytes"] / 1e9, found["restore_s"], found["raw_read_s"]
    words = (
        f"Restoring {found['tokens']:,} tokens brings {size:.2f} GB in {found['files']} files to "
        f"the GPU in {seconds:.3f} s, {size / seconds:.1f} GB/s: every byte passes SHA-256 before "
        f"it counts, and is copied to the device. The raw read, {raw_s:.3f} s from the page cache, "
        "does neither."
    )
    if "hash_only_s" in found:
        words += (
            f" Alone, SHA-256 of these bytes takes {found['hash_only_s']:.3f} s on the same "
            f"threads, the copies from pinned memory {found['copy_only_s']:.3f} s."
        )
    if found.get("restore_cold_s") is not None:
        words += (
            f" With the files dropped from the page cache, restoring takes "
            f"{found['restore_cold_s']:.3f} s, the raw read {found['raw_read_cold_s']:.3f} s."
        )
    return words
