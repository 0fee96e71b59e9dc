"""Where the time of a chunk and of a decode step goes, as the page has it."""

from __future__ import annotations

from typing import Any

from tests.benchmarks.figures import Results
from tests.benchmarks.tables import table

CHUNK_WORDS = (
    "A part's floor is what it has to do, in products, bytes or exponentials, at the rates that "
    "stand above its table: measured in the same run, exponentials by the highest clock. The sums "
    "and norms of a layer share their floor evenly; a sum that a norm's kernel makes counts as "
    "norm, so elementwise can be under its floor."
)
STEP_WORDS = (
    "A decode step is timed as it runs, as one captured graph of fewer kernels, which get ready "
    "while the one before ends. It is taken apart as a plain forward pass, one kernel after the "
    "other. So its parts tell where the time goes, and can add up to more than the step; then "
    "nothing is left for launch gaps."
)


def profiles(results: Results) -> list[str]:
    """All of them, with what is to be known to read them."""
    keys = [key for key in results if ":profile:" in key]
    if not keys:
        return []
    words = ["## Where the time goes", CHUNK_WORDS]
    if any(results[key]["new_tokens"] == 1 for key in keys):
        words.append(STEP_WORDS)
    return words + [text for key in keys for text in one(key, results)]


def one(key: str, results: Results) -> list[str]:
    """Its title, its rates and its table."""
    values, group = results[key], key.split(":")[0]
    past, new = values["past_tokens"], values["new_tokens"]
    what = f"{new:,} tokens" if new > 1 else "a decode step"
    words = [f"### {group}: {what} after {past:,}"]
    rates = results.get(f"{group}:ceilings")
    if rates:
        words.append(
            f"Rates: products {rates['flop_per_s'] / 1e12:,.0f} TFLOP/s, in fp8 "
            f"{rates['fp8_flop_per_s'] / 1e12:,.0f}; copies {rates['bytes_per_s'] / 1e12:,.2f} "
            f"TB/s; {rates['exponentials_per_s'] / 1e12:,.1f} T exponentials/s. "
            f"{values['launches']:,} kernels{'' if new > 1 else ' in the plain pass'}."
        )
    heads = ["part", "ms", "share", "floor ms", "ceiling reached", "bound by"]
    return [*words, "\n".join(table(heads, rows(values), 1, 5))]


def rows(values: dict[str, Any]) -> list[list[str]]:
    """The parts from the longest to the shortest, the rest, the sum."""
    step, floor = values["step_s"], values["floor_s"]
    found = []
    for part in sorted(values["parts"], key=lambda each: -each["seconds"]):
        seconds, least = part["seconds"], part["floor_s"]
        share = f"{100 * least / seconds:.0f} %" if seconds else ""
        found.append(
            [part["part"], *times(seconds, step), f"{least * 1e3:.2f}", share, part["bound_by"]]
        )
    found.append(["launch gaps, rest", *times(max(0.0, values["rest_s"]), step), "", "", ""])
    reached = f"{100 * floor / step:.0f} %"
    found.append(["**step**", *times(step, step), f"{floor * 1e3:.2f}", reached, ""])
    return found


def times(seconds: float, step: float) -> list[str]:
    """Milliseconds and the share of the step."""
    return [f"{seconds * 1e3:.2f}", f"{100 * seconds / step:.0f} %"]
