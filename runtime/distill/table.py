"""The model card's tables from evaluations: `python -m runtime.distill.table`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from runtime.distill import evalset
from runtime.distill.answering import read_answers
from runtime.distill.evalset import Item
from runtime.distill.evaluate import MAX_NEW
from runtime.distill.scoring import score
from runtime.distill.tokens import read_encoding

Scores = Mapping[str, tuple[float, int]]

ROWS = (
    ("quotes verbatim in the document", "verbatim", ">= 95 %"),
    ("references that point to where the quote stands", "reference right", ">= 90 %"),
    ("answers that loop or never stop", "loops", "<= 1 %"),
    ("planted fact, 2k tokens", "needle 2048", ">= 95 %"),
    ("planted fact, 4k", "needle 4096", ">= 90 %"),
    ("planted fact, 8k", "needle 8192", ">= 80 %"),
    ("definition found, repositories of 4-8k tokens", "code definition", ">= 80 %"),
    ("questions of all kinds: the expected quote is given", "ask all", "-"),
    ("unanswerable recognized", "unanswerable recognized", ">= 80 %"),
    ("answerable wrongly refused", "answerable refused", "<= 10 %"),
)
"""Name, `score`'s key and what is aimed at."""


def shared_scores(
    items: Sequence[Item],
    runs: Mapping[str, Mapping[str, Mapping[int, list[int]]]],
    tokenizer: Path,
) -> dict[str, Scores]:
    """Scores by run and way, over the items that all of them answered."""
    encoding = read_encoding(tokenizer)
    answered = [set(made) for ways in runs.values() for made in ways.values()]
    numbers = sorted(set.intersection(*answered)) if answered else []
    picked = [items[number] for number in numbers]
    scores: dict[str, Scores] = {}
    for run, ways in runs.items():
        for way, made in sorted(ways.items(), reverse=True):
            ids = [made[number] for number in numbers]
            scores[f"{run} {way}"] = score(
                picked, [encoding.decode(row) for row in ids], ids, MAX_NEW
            )
    return scores


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _rule(columns: int) -> str:
    return "|---" * columns + "|"


def main_table(scores: Mapping[str, Scores]) -> list[str]:
    """Percentages, a column a run and way."""
    lines = [_row("", *scores, "n", "aimed at"), _rule(len(scores) + 3)]
    for name, key, aim in ROWS:
        found = [table.get(key) for table in scores.values()]
        shown = ["-" if cell is None else f"{100 * cell[0]:.0f} %" for cell in found]
        counts = list(dict.fromkeys(str(cell[1]) for cell in found if cell is not None))
        lines.append(_row(name, *shown, " / ".join(counts) or "-", aim))
    return lines


def rouge_table(scores: Mapping[str, Scores]) -> list[str]:
    """ROUGE-1/2/L of summaries, and of the ways to choose they are compared with."""
    lines = [_row("ROUGE-1/2/L", "", "papers"), _rule(3)]
    rivals = ("lead-3", "random-3", "target")
    named = [(way, "nano", table) for way, table in scores.items()]
    named += [(rival, rival, next(iter(scores.values()))) for rival in rivals if scores]
    for name, key, table in named:
        found = [table.get(f"rouge-{metric} {key}") for metric in "12L"]
        if cells := [cell for cell in found if cell is not None]:
            values = " / ".join(f"{value:.3f}" for value, _ in cells)
            lines.append(_row(name, values, str(cells[0][1])))
    return lines


def perplexity_table(tables: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[str]:
    """Perplexity over the teacher's, a row a run."""
    kinds = ("prose", "docs", "code")
    lines = [_row("perplexity over the teacher's", *kinds), _rule(4)]
    for run, table in tables.items():
        cells = [table[kind] for kind in kinds]
        shown = [f"{100 * c['over']:+.1f} % ({c['nano']:.2f} / {c['teacher']:.2f})" for c in cells]
        lines.append(_row(run, *shown))
    return lines


def main() -> None:
    """Reads what `evaluate` wrote under each name and writes `<out>.md` and `<out>.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+", help="of evaluations of the same items")
    parser.add_argument("--perplexity", nargs="*", default=[], help="names without answers")
    parser.add_argument("--folder", type=Path, default=Path())
    parser.add_argument("--items", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    runs = {n: read_answers(sorted(args.folder.glob(f"{n}.*.answers.jsonl"))) for n in args.names}
    scores = shared_scores(evalset.read(args.items), runs, args.tokenizer)
    named = (*args.names, *args.perplexity)
    reports = {n: json.loads((args.folder / f"{n}.json").read_text()) for n in named}
    perplexity = {n: made["perplexity"] for n, made in reports.items() if "perplexity" in made}
    tables = [main_table(scores), rouge_table(scores), perplexity_table(perplexity)]
    text = "\n\n".join("\n".join(lines) for lines in tables) + "\n"
    args.out.with_suffix(".md").write_text(text)
    both = {"scores": scores, "perplexity": perplexity}
    args.out.with_suffix(".json").write_text(json.dumps(both, indent=1) + "\n")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
