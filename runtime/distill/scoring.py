"""What an answer is worth: verbatim, rightly referenced, complete, not looping; ROUGE."""

from __future__ import annotations

import bisect
import itertools
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from runtime.distill.evalset import Item

NOT_FOUND = "Not found in the document."
_BULLET = re.compile(r"^- (.+) (\[[^\[\]]+\])$")


def bullets(answer: str) -> list[tuple[str, str]]:
    """Quotes and references; a line of another form counts as a quote without a reference."""
    found = []
    for line in answer.strip().split("\n"):
        match = _BULLET.match(line.strip())
        found.append((match[1], match[2]) if match else (line.strip(), ""))
    return [(" ".join(text.split()), reference) for text, reference in found if text]


def loops(answer: str, made: int, limit: int) -> bool:
    """Whether an answer never ends or repeats itself: distinct 4-grams of its quotes below 80 %.

    References are left out: two quotes from one place rightly name it twice.
    """
    words = " ".join(quote for quote, _ in bullets(answer)).split()
    grams = [tuple(words[at : at + 4]) for at in range(len(words) - 3)]
    return made >= limit or (len(grams) >= 8 and len(set(grams)) < 0.8 * len(grams))


def plain(quote: str) -> str:
    """A quote without the marks of comments and docstrings around it."""
    return re.sub(r'^(?:[rR]?"""|//[/!]?|/\*\*?|\*|#)\s*|\s*(?:"""|\*/)$', "", quote)


def rouge(candidate: str, reference: str) -> tuple[float, float, float]:
    """F1 of ROUGE-1, ROUGE-2 and ROUGE-L on lower-case words."""
    ours, theirs = (re.findall(r"[a-z0-9]+", text.lower()) for text in (candidate, reference))

    def f1(overlap: int, a: int, b: int) -> float:
        return 2 * overlap / (a + b) if overlap else 0.0

    result = []
    for n in (1, 2):
        grams = [Counter(zip(*(w[i:] for i in range(n)), strict=False)) for w in (ours, theirs)]
        overlap = (grams[0] & grams[1]).total()
        result.append(f1(overlap, grams[0].total(), grams[1].total()))
    row = [0] * (len(theirs) + 1)
    for word in ours:
        diagonal = 0
        for j, other in enumerate(theirs, 1):
            diagonal, row[j] = row[j], diagonal + 1 if word == other else max(row[j], row[j - 1])
    result.append(f1(row[-1], len(ours), len(theirs)))
    return result[0], result[1], result[2]


class Tally:
    """Means of named yes-or-no (or graded) results."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = defaultdict(list)

    def add(self, name: str, value: float) -> None:
        """One result."""
        self.values[name].append(float(value))

    def table(self) -> dict[str, tuple[float, int]]:
        """Mean and number of each."""
        return {name: (sum(v) / len(v), len(v)) for name, v in sorted(self.values.items())}


def score(
    items: Sequence[Item], answers: Sequence[str], ids: Sequence[Sequence[int]], limit: int
) -> dict[str, tuple[float, int]]:
    """The evaluation's table from the answers."""
    tally = Tally()
    for item, answer, made in zip(items, answers, ids, strict=True):
        tally.add("loops", loops(answer, len(made), limit))
        refused = answer.strip() == NOT_FOUND
        if not item.expected:
            tally.add(f"recognized {item.kind}", refused)
            tally.add("unanswerable recognized", refused)
            continue
        if item.kind not in ("summary", "abstract"):
            tally.add("answerable refused", refused)
        if not refused:
            _score_quotes(item, answer, tally)
        found = bullets(answer)
        said = {quote for quote, _ in found}
        if item.kind in ("summary", "abstract"):
            tally.add(
                f"{item.kind} chosen as the target",
                len(said & set(item.expected)) / len(item.expected),
            )
        else:
            hit = plain(item.expected[0]) in {plain(quote) for quote in said}
            tally.add(item.kind, hit)
            if item.kind.startswith("ask"):
                tally.add("ask all", hit)
        if item.abstract:
            _score_rouge(item, [quote for quote, _ in found], tally)
    return tally.table()


def _score_quotes(item: Item, answer: str, tally: Tally) -> None:
    whole = " ".join(text for _, text in item.blocks)
    starts = list(itertools.accumulate((len(text) + 1 for _, text in item.blocks), initial=0))
    for quote, reference in bullets(answer):
        places = [match.start() for match in re.finditer(f"(?={re.escape(quote)})", whole)]
        tally.add("verbatim", bool(places))
        if places:  # a quote stands where it begins
            at = (item.blocks[bisect.bisect_right(starts, place) - 1][0] for place in places)
            tally.add("reference right", reference in at)


def _score_rouge(item: Item, quotes: Iterable[str], tally: Tally) -> None:
    rng = random.Random(len(item.ids))
    sentences = list(item.sentences)
    rivals = {
        "nano": list(quotes),
        "lead-3": sentences[:3],
        "random-3": rng.sample(sentences, min(3, len(sentences))),
        "target": item.expected,
    }
    for name, chosen in rivals.items():
        for metric, value in zip("12L", rouge(" ".join(chosen), item.abstract), strict=True):
            tally.add(f"rouge-{metric} {name}", value)
