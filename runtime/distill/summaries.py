"""Extractive summaries: the sentences that carry a document, by centrality and position."""

from __future__ import annotations

import itertools
import math
import random
import re
from collections import Counter
from collections.abc import Sequence

from runtime.distill.reading import Line, Quote, Reading, Sentence, content_words
from runtime.sentences import DESCRIPTION, SENTENCE_END, is_description

_OPENERS = re.compile(
    r"(?:This|It|These|Those|That|He|She|They|But|And|So|However|Then|Thus|Such|Here|There|Also|"
    r"For example|For instance|Note|See|If|You|Hence|Therefore|Moreover|In addition|"
    r"I|We|His|Her|Its)\b"
)
_CUES = re.compile(
    r"\b(?:provides?|is an?|are the|allows?|important|main|purpose|in (?:this|summary|conclusion)|"
    r"describes?|introduc\w+|supports?|designed|overview|propos\w+|results?|show that|must|aims?|"
    r"significant\w*|conclude\w*|recommend\w*|the (?:first|most)|responsible|consists? of)\b",
    re.IGNORECASE,
)


def centrality(sentences: list[Sentence]) -> list[float]:
    """Cosine of each sentence's tf-idf vector with the document's, scaled to at most 1."""
    bags = [Counter(content_words(item.quote.text)) for item in sentences]
    spread = Counter(word for bag in bags for word in bag)
    total = Counter(word for bag in bags for word in bag.elements())

    def weight(word: str) -> float:
        return math.log(1 + len(bags) / spread[word])

    center = {word: math.log1p(count) * weight(word) for word, count in total.items() if count > 1}
    scores = []
    for bag in bags:
        dot = sum(weight(word) * center.get(word, 0.0) for word in bag)
        norm = math.sqrt(sum(weight(word) ** 2 for word in bag)) or 1.0
        scores.append(dot / norm)
    top = max(scores, default=1.0) or 1.0
    return [score / top for score in scores]


def scores(sentences: list[Sentence]) -> list[float]:
    """How much each sentence says about the whole: centrality, position, cue words, length."""
    result = []
    count = max(1, len(sentences))
    for item, central in zip(sentences, centrality(sentences), strict=True):
        text = item.quote.text
        length = len(text.split())
        score = central
        score += 0.5 * math.exp(-8 * item.place / count) + (0.3 if item.opens else 0.0)
        score += 0.15 if _CUES.search(text) else 0.0
        score -= 0.35 if _OPENERS.match(text) else 0.0
        score -= 0.3 if text.endswith("?") or text[0] in "\"'(" else 0.0
        score -= 0.25 if length < 9 else 0.02 * max(0, length - 38)
        result.append(score)
    return result


def select(sentences: list[Sentence], count: int) -> list[Quote]:
    """The best sentences that do not repeat each other, in document order."""
    ranked = sorted(zip(scores(sentences), sentences, strict=True), key=lambda pair: -pair[0])
    chosen: list[tuple[Sentence, set[str]]] = []
    for _, item in ranked:
        bag = set(content_words(item.quote.text))
        if not bag or any(
            len(bag & other) > 0.5 * min(len(bag), len(other)) for _, other in chosen
        ):
            continue
        chosen.append((item, bag))
        if len(chosen) == count:
            break
    return [item.quote for item, _ in sorted(chosen, key=lambda pair: pair[0].place)]


def summarize(reading: Reading, count: int, focus: str | None = None) -> list[Quote]:
    """The summary of a document, of prose or of code; empty if nothing in it is quotable."""
    sentences = reading.sentences
    if focus:
        sentences = reading.sentences_with(focus)
    elif any(part.language not in (None, "markdown", "rst") for part in reading.document.parts):
        return summarize_code(reading, count)
    return select(sentences, count)


def summarize_code(reading: Reading, count: int) -> list[Quote]:
    """What a project's files say of themselves: README first, then one docstring a file."""
    readme = {
        id(block.part) for block in reading.blocks if block.part.language in ("markdown", "rst")
    }
    references = {block.reference for block in reading.blocks if id(block.part) in readme}
    prose = [item for item in reading.sentences if item.quote.reference in references]
    lead = select(prose, max(1, count // 3)) if prose else []
    by_part: dict[int, list[Line]] = {}
    for line in reading.lines:
        by_part.setdefault(line.in_part, []).append(line)
    firsts = [first_description(lines) for lines in by_part.values()]
    found = [line for line in firsts if line is not None]
    if len(found) < count - len(lead):
        known = {line.number for line in found}
        extra = [line for line in described(reading.lines) if line.number not in known]
        found += extra[: count - len(lead) - len(found)]
    rest = found[: count - len(lead)]
    rest.sort(key=lambda line: line.number)
    return lead + [description_quote(reading.lines, line.number) for line in rest]


def first_description(lines: list[Line]) -> Line | None:
    """The line that says what a file is for: the first of its docstring or leading comment."""
    for line in lines[:25]:
        if description_of(line) and line.indent == 0:
            return line
    return next(iter(described(lines)), None)


def described(lines: list[Line]) -> list[Line]:
    """Docstrings of top-level definitions."""
    pairs = itertools.pairwise(lines)
    return [
        line
        for before, line in pairs
        if before.in_part == line.in_part
        and re.match(r"(?:class|def|async def) ", before.quote.text)
        and before.indent == 0
        and description_of(line)
    ]


def description_of(line: Line) -> bool:
    """Whether a line begins a sentence of a docstring or documentation comment."""
    return is_description(line.quote.text) and line.language not in ("markdown", "rst", None)


def description_quote(lines: Sequence[Line], index: int) -> Quote:
    """The first sentence that a description's line begins, joined over a docstring's lines."""
    line = lines[index]
    match = DESCRIPTION.match(line.quote.text)
    text = match[1] if match else line.quote.text
    docstring = line.quote.text.lstrip("rR").startswith('"""')
    at = index + 1
    while docstring and not SENTENCE_END.search(text) and at < min(len(lines), index + 4):
        following = lines[at]
        if following.quote.reference != line.quote.reference or '"""' in text:
            break
        if following.quote.text.startswith((":", "-", "*", "@", ">>>", "Args", "Returns")):
            break
        text, at = f"{text} {following.quote.text}", at + 1
    end = SENTENCE_END.search(text)
    text = text[: end.start() + 1] if end else text
    return Quote(text.split('"""')[0].removesuffix("*/").strip(), line.quote.reference)


def random_focus(reading: Reading, rng: random.Random) -> str | None:
    """A term that a few sentences share."""
    common = [
        word
        for word, count in reading.vocabulary.items()
        if 3 <= count <= 25 and len(word) > 4 and word.isalpha()
    ]
    rng.shuffle(common)
    for word in common[:12]:
        if 2 <= len(reading.sentences_with(word)) <= 14:
            return word
    return None
