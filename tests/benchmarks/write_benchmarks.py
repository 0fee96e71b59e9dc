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
from tests.benchmarks.gpu_session import MISSING
from tests.benchmarks.missed import missed
from tests.benchmarks.plot import Line, line_chart
from tests.benchmarks.profile_pages import profiles
from tests.benchmarks.session_plan import ON_DEMAND
from tests.benchmarks.tables import table

SCHEMES = ("fp8", "int8", "nf4")
NAMES = {"3b": "3B, bf16"}
PLOT, RESULTS = "benchmarks.svg", "benchmarks.jsonl"


def read(files: list[Path]) -> tuple[Results, dict[str, str]]:
    """What was measured by key, and what failed or was not run."""
    results: Results = {}
    failed: dict[str, str] = {}
    commands: list[str] = []
    dates: list[str] = []
    cards: set[str] = set()
    for file in files:
        for line in file.read_text(encoding="utf-8").splitlines():
            values = json.loads(line)
            key = values.pop("key")
            if key == "machine":
                commands.append(values["command"])
                dates.append(values["date"])
                cards.add(values["card"])
            if problem := values.get("error") or values.get("skipped"):
                failed[key] = problem
            else:
                results[key] = values
    if len(cards) > 1:
        raise SystemExit(f"figures of different cards make no page: {', '.join(sorted(cards))}")
    results["machine"]["command"] = "\n".join(dict.fromkeys(commands))
    results["machine"]["date"] = ", ".join(dict.fromkeys(dates))
    return results, {key: why for key, why in failed.items() if key not in results}


def page(results: Results, failed: dict[str, str]) -> str:
    """The whole page."""
    machine = results["machine"]
    shown = {
        name.replace("_", " "): value
        for name, value in machine.items()
        if name not in ("card", "command", "date") and value != MISSING
    }
    bounds = missed(results)
    parts = [
        "# Benchmarks",
        "Random weights of the released shapes, made on the device, because the real ones could "
        "not be had; batch 1; medians; kernels compiled and one chunk of each size read before the "
        "clock starts. Written by `tests.benchmarks.write_benchmarks` from "
        f"[what was recorded]({RESULTS}), not by hand.",
        f"Measured on {machine['date']} on one {machine['card']}: "
        + ", ".join(f"{name} {value}" for name, value in shown.items())
        + f".\n\n```\n{machine['command']}\n```",
        "## Figures to reach\n\n" + "\n".join(reached(results)),
        PEERS_NOTE,
        *stood_in(results),
        *(["## What is missed, and what bounds it", *bounds] if bounds else []),
        "## Cost against length\n\n" + f"![Prefill against length]({PLOT})",
        "\n".join(by_length(results)),
        "## Memory against the plan",
        "Planned is without the margin of 1 GB; peak is what tensors took at most, reserved what "
        "PyTorch's allocator held for them.",
        "\n".join(memory(results)),
        *profiles(results),
        *unmeasured(results, failed),
    ]
    return "\n\n".join(parts) + "\n"


def stood_in(results: Results) -> list[str]:
    """What stood in transformers' run for packages that were not there."""
    peer = results.get("peer", {})
    words = []
    if peer.get("scan_stands_in"):
        words.append(
            "transformers' scan in the same run was mamba-ssm's CUDA extension, called "
            f"{peer['scan_calls']} times without its Python package."
        )
    if peer.get("conv_stands_in"):
        words.append("Its convolution was this project's kernel, as causal-conv1d was not there.")
    return [" ".join(words)] if words and "theirs_s" in peer else []


def unmeasured(results: Results, failed: dict[str, str]) -> list[str]:
    """What failed or was not run, and why."""
    rows = [[f"`{key}`", why.splitlines()[0][:200]] for key, why in failed.items()]
    peer = results.get("peer", {})
    if "their_error" in peer:
        fallback = "" if peer["scan_calls"] else "it did not find mamba-ssm's scan; its own: "
        words = ". ".join(peer["their_error"].split(". ")[:2])
        rows.append(["transformers, in the same run", fallback + words])
    rows += [
        [f"`{name}`", "takes long, is run only when named, and was not"]
        for name in ON_DEMAND
        if name not in results and name not in failed
    ]
    return ["## Not measured\n\n" + "\n".join(table(["what", "why"], rows, 2))] if rows else []


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
            runs = results[f"{group}:prefill:{tokens}"]["seconds"]
            seconds = median(runs)
            try:
                rate = decode_rate(group, tokens)(results)
                decode = [f"{rate:,.1f}", f"{1e3 / rate:.2f}"]
            except KeyError:
                decode = ["", ""]
            cells = [f"{tokens:,}", f"{seconds:,.3f}", str(len(runs))]
            rows.append([NAMES.get(group, group), *cells, f"{tokens / seconds:,.0f}", *decode])
    heads = ["", "tokens", "prefill s", "runs", "prefill tok/s", "decode tok/s", "ms a step"]
    return table(heads, rows)


def memory(results: Results) -> list[str]:
    """Peaks beside the plan's figures."""
    rows = []
    for group in (*SCHEMES, "3b"):
        for tokens in lengths(results, group):
            values = results.get(f"{group}:memory:{tokens}", {})
            if not values.get("device_peak_bytes"):
                continue
            planned, peak = values["planned_bytes"], values["device_peak_bytes"]
            sizes = [
                f"{each / 1e9:.1f}" for each in (planned, peak, values["device_reserved_bytes"])
            ]
            off = f"{100 * (planned / peak - 1):+.1f} %"
            rows.append([NAMES.get(group, group), f"{tokens:,}", *sizes, off])
    heads = ["", "tokens", "planned GB", "peak GB", "reserved GB", "plan off by"]
    return table(heads, rows)


def plot(results: Results) -> str:
    """Tokens a second of prefill against length, ours and others'."""
    ours = [Line(f"jamba {scheme}", rates(results, scheme)) for scheme in SCHEMES]
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
