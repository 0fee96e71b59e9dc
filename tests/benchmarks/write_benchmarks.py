"""Makes docs/benchmarks.md and its plot from what sessions recorded.

    python -m tests.benchmarks.write_benchmarks results.jsonl [more.jsonl] [--to docs]

The last good line of a key counts; a key that only failed is listed with its message.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import median
from typing import Any

from tests.benchmarks.figures import FIGURES, PEERS, PEERS_NOTE, Results, decode_rate
from tests.benchmarks.plot import Line, line_chart

SCHEMES = ("fp8", "int8", "nf4")
PLOT = "benchmarks.svg"


def read(files: list[Path]) -> tuple[Results, dict[str, str]]:
    """What was measured by key, and what failed or was not run."""
    results: Results = {}
    failed: dict[str, str] = {}
    commands: list[str] = []
    cards: set[str] = set()
    for file in files:
        for line in file.read_text(encoding="utf-8").splitlines():
            values = json.loads(line)
            key = values.pop("key")
            if key == "machine":
                commands.append(values["command"])
                cards.add(values["card"])
            if problem := values.get("error") or values.get("skipped"):
                failed[key] = problem
            else:
                results[key] = values
    if len(cards) > 1:
        raise SystemExit(f"figures of different cards make no page: {', '.join(sorted(cards))}")
    results["machine"]["command"] = "\n".join(dict.fromkeys(commands))
    return results, {key: why for key, why in failed.items() if key not in results}


def table(heads: list[str], rows: list[list[str]], right: int = 1) -> list[str]:
    """A Markdown table; columns from `right` on are numbers."""
    lines = ["| " + " | ".join(heads) + " |"]
    lines.append("|" + "|".join("---" if i < right else "---:" for i in range(len(heads))) + "|")
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def page(results: Results, failed: dict[str, str]) -> str:
    """The whole page."""
    machine = results["machine"]
    shown = {name: value for name, value in machine.items() if name not in ("command", "date")}
    parts = [
        "# Benchmarks",
        "Random weights of the released shapes, made on the device; batch 1; medians; kernels "
        "compiled and one chunk of each size read before the clock starts. Written by "
        "`tests.benchmarks.write_benchmarks`, not by hand.",
        f"Measured on {machine['date']}: "
        + ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in shown.items())
        + f".\n\n```\n{machine['command']}\n```",
        "## Figures to reach\n\n" + "\n".join(reached(results)),
        PEERS_NOTE,
        "## Cost against length\n\n" + f"![Prefill against length]({PLOT})",
        "\n".join(by_length(results)),
        "## Memory against the plan\n\n" + "\n".join(memory(results)),
        *(profile_text(key, results) for key in results if ":profile:" in key),
    ]
    if failed:
        rows = [[f"`{key}`", why.splitlines()[0][:200]] for key, why in failed.items()]
        parts.append("## Not measured\n\n" + "\n".join(table(["what", "why"], rows, 2)))
    return "\n\n".join(parts) + "\n"


def reached(results: Results) -> list[str]:
    """Every figure with what was measured."""
    rows = []
    for figure in FIGURES:
        sign = "<=" if figure.low else ">="
        try:
            value, verdict = figure.verdict(results)
        except (KeyError, TypeError):
            value, verdict = "not measured", ""
        wanted = f"{sign} {figure.reach:g} {figure.unit}".strip()
        rows.append([figure.what, wanted, value, verdict, figure.judged_by])
    return table(["", "reach", "measured", "reached", "judged by"], rows, 5)


def lengths(results: Results, group: str) -> list[int]:
    """The lengths at which a group was read, shortest first."""
    prefix = f"{group}:prefill:"
    return sorted(int(key.removeprefix(prefix)) for key in results if key.startswith(prefix))


def by_length(results: Results) -> list[str]:
    """Prefill and decode at every length."""
    rows = []
    for group in (*SCHEMES, "3b"):
        for tokens in lengths(results, group):
            seconds = median(results[f"{group}:prefill:{tokens}"]["seconds"])
            try:
                rate = decode_rate(group, tokens)(results)
                decode = [f"{rate:,.1f}", f"{1e3 / rate:.2f}"]
            except KeyError:
                decode = ["", ""]
            cells = [f"{tokens:,}", f"{seconds:,.3f}", f"{tokens / seconds:,.0f}"]
            rows.append([group if group != "3b" else "3B, bf16", *cells, *decode])
    heads = ["", "tokens", "prefill s", "prefill tok/s", "decode tok/s", "ms a step"]
    return table(heads, rows)


def memory(results: Results) -> list[str]:
    """Peaks beside the plan's figures."""
    rows = []
    for key, values in results.items():
        group = key.split(":")[0]
        if key.startswith(f"{group}:memory:") and values["device_peak_bytes"]:
            planned, peak = values["planned_bytes"], values["device_peak_bytes"]
            cells = [planned, peak, values["device_reserved_bytes"]]
            off = f"{100 * (planned / peak - 1):+.1f} %"
            sizes = [f"{each / 1e9:.1f}" for each in cells]
            rows.append([group, f"{values['tokens']:,}", *sizes, off])
    heads = ["", "tokens", "planned GB", "peak GB", "reserved GB", "plan off by"]
    return table(heads, rows)


def profile_text(key: str, results: Results) -> str:
    """A step, part by part."""
    values, group = results[key], key.split(":")[0]
    rates = results.get(f"{group}:ceilings", {})
    step = values["step_s"]
    rows = []
    for part in sorted(values["parts"], key=lambda each: -each["seconds"]):
        seconds, floor = part["seconds"], part["floor_s"]
        share = f"{100 * floor / seconds:.0f} %" if seconds else ""
        rows.append([part["part"], *times(seconds, step), f"{floor * 1e3:.2f}", share,
                     part["bound_by"]])  # fmt: skip
    rows.append(["launch gaps, rest", *times(values["rest_s"], step), "", "", ""])
    floor = values["floor_s"]
    rows.append(
        ["**step**", *times(step, step), f"{floor * 1e3:.2f}", f"{100 * floor / step:.0f} %", ""]
    )
    title = f"## {group}: {values['new_tokens']:,} tokens after {values['past_tokens']:,}"
    heads = ["part", "ms", "share", "floor ms", "ceiling reached", "bound by"]
    rate_words = ""
    if rates:
        rate_words = (
            f"Ceilings in the same run: products {rates['flop_per_s'] / 1e12:,.0f} TFLOP/s, in fp8 "
            f"{rates['fp8_flop_per_s'] / 1e12:,.0f}; copies {rates['bytes_per_s'] / 1e12:,.2f} "
            f"TB/s. {values['launches']:,} kernels.\n\n"
        )
    return f"{title}\n\n{rate_words}" + "\n".join(table(heads, rows))


def times(seconds: float, step: float) -> list[str]:
    """Milliseconds and the share of the step."""
    return [f"{seconds * 1e3:.2f}", f"{100 * seconds / step:.0f} %"]


def plot(results: Results) -> str:
    """Tokens a second of prefill against length, ours and others'."""
    ours = [Line(scheme, rates(results, scheme)) for scheme in SCHEMES]
    peers = [
        Line(name, [(tokens, tokens / seconds) for tokens, seconds in points], dashed=True)
        for name, points in PEERS.items()
    ]
    title = "Prefill, tokens a second, Mini shape on one GPU"
    return line_chart(title, "tokens of prompt", [*ours, *peers])


def rates(results: Results, scheme: str) -> list[tuple[float, float]]:
    """Length and tokens a second."""
    found: list[tuple[float, float]] = []
    for tokens in lengths(results, scheme):
        values: dict[str, Any] = results[f"{scheme}:prefill:{tokens}"]
        found.append((tokens, tokens / median(values["seconds"])))
    return found


def main() -> None:
    """Writes both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("--to", type=Path, default=Path("docs"))
    options = parser.parse_args()
    results, failed = read(options.results)
    (options.to / "benchmarks.md").write_text(page(results, failed), encoding="utf-8")
    (options.to / PLOT).write_text(plot(results), encoding="utf-8")


if __name__ == "__main__":
    main()
