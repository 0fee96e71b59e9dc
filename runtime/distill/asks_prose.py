"""Questions about running text whose answers are sentences of it, found by patterns."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable, Iterator

from runtime.distill import asking
from runtime.distill.asking import Ask, ask, draw
from runtime.distill.reading import STOP_WORDS, Quote, Reading, Sentence, words

_MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
_DATE = re.compile(
    rf"\b(?:\d{{1,2}} (?:{_MONTHS}) \d{{4}}|(?:{_MONTHS}) \d{{1,2}}(?:, \d{{4}})?|"
    rf"(?:{_MONTHS}) \d{{4}}|1[4-9]\d\d|20[0-4]\d)\b"
)
_NAME = r"[A-Z][\w.'-]+(?: (?:of |the |de |van )?[A-Z][\w.'-]+)*"
_ENTITY = re.compile(rf"(?<![.!?] )(?<!^)\b{_NAME}")
_DEFINED = re.compile(
    r"^(?:The |An? )?([A-Za-z`][\w`'\-./]*(?: [\w`'\-./]+){0,4}?) "
    r"(is|are|means|refers to|describes) "
    r"(?:an?|the|used|one|any|not|when|where|that|to)\b"
)
_PASSIVE = re.compile(
    r"^(?:[A-Z][^,]{0,40}, )?((?:The |An? |the )?[\w'-]+(?: [\w'-]+){0,6}?) (?:was|were) "
    r"(?:\w+ly )?((?:\w+ed|built|born|written|held|made|sent|begun|taken|given|found|chosen|won))\b"
)
_BY = re.compile(rf"\bby ((?:the )?{_NAME})")
_TITLED = re.compile(
    r"\b((?:Mr|Mrs|Dr|President|Secretary|Senator|General|Professor|King|Queen|Captain|Governor)"
    r"\.? [A-Z][\w'-]+(?: [A-Z][\w'-]+)?)"
)
_COUNT = re.compile(
    r"\b(?:\d[\d,.]*|two|three|four|five|six|seven|eight|nine|ten|twelve|twenty|hundred)"
    r" (?:[a-z]+ )?([a-z]{3,}s)\b"
)
_REASON = re.compile(
    r"^(?:The |A |It )?(.{12,90}?),? (?:because|since|so that|due to|in order to) "
)
_PURPOSE = re.compile(r"^To ([a-z]+ [^,]{5,60}), [a-z]+")
_GERUND = re.compile(r"^([A-Z][a-z]+)ing ((?:\w+[ -]?){1,6})$")
_VALUE = re.compile(r"^(?:- )?([A-Z][A-Za-z ()/-]{2,40}): (\S.{1,180})$")
_SUBJECTS_LEFT_OUT = (
    "it this that these those there he she they we you i what which here who one each all both "
    "such another some many most as if when while since for in on at by with from to my our his "
    "her their its your"
)
_BAD_SUBJECTS = frozenset(_SUBJECTS_LEFT_OUT.split())

Finder = Callable[[Reading, random.Random], Iterator[Ask]]


def _picked(reading: Reading, rng: random.Random, count: int = 60) -> list[Sentence]:
    items = reading.sentences
    return rng.sample(items, min(count, len(items)))


def _holding(reading: Reading, phrase: str, most: int = 3) -> list[Quote]:
    """All sentences with a phrase, if they are all of its occurrences and few."""
    found = reading.sentences_with(phrase)
    if not 1 <= len(found) <= most:
        return []
    inside = sum(len(re.findall(re.escape(phrase.lower()), s.quote.text.lower())) for s in found)
    return [item.quote for item in found] if reading.occurrences(phrase) <= inside else []


def _lower_first(text: str) -> str:
    first, _, rest = text.partition(" ")
    known = first.lower() in STOP_WORDS or first in ("The", "A", "An")
    return f"{first.lower()} {rest}" if known else text


def definitions(reading: Reading, rng: random.Random) -> Iterator[Ask]:
    """`X is a ...` -> what is X?"""
    for item in _picked(reading, rng, 120):
        match = _DEFINED.match(item.quote.text)
        if not match or set(words(match[1])[:1]) & _BAD_SUBJECTS or match[1].lower() in STOP_WORDS:
            continue
        subject = match[1] if rng.random() < 0.6 else match[1].lower().strip("`")
        if reading.occurrences(match[1]) > 12:
            continue
        rivals = [
            other
            for other in reading.sentences_with(match[1])
            if other is not item and (m := _DEFINED.match(other.quote.text)) and m[1] == match[1]
        ]
        if not rivals:
            forms = asking.DEFINE_MANY if match[2] == "are" else asking.DEFINE
            yield ask(rng, forms, [item.quote], "define", x=subject)


def entities(reading: Reading, rng: random.Random) -> Iterator[Ask]:
    """Names and rare terms -> all the sentences that hold them."""
    for item in _picked(reading, rng):
        names = [match[0].rstrip(".'") for match in _ENTITY.finditer(item.quote.text)]
        if names and (quotes := _holding(reading, name := rng.choice(names))):
            form = asking.WHO_IS if _TITLED.search(name) else asking.ABOUT
            yield ask(rng, form, quotes, "about", x=name)


def terms(reading: Reading, rng: random.Random) -> Iterator[Ask]:
    """Neighbouring content words that occur once -> their sentence."""
    for item in _picked(reading, rng):
        tokens = re.findall(r"[A-Za-z][\w'-]*", item.quote.text)
        pairs = [
            f"{a} {b}"
            for a, b in itertools.pairwise(tokens)
            if not {a.lower(), b.lower()} & STOP_WORDS and len(a) > 3 and len(b) > 3
        ]
        singles = [t for t in tokens if len(t) > 6 and reading.vocabulary[t.lower()] == 1]
        choices = pairs + singles
        if choices and (quotes := _holding(reading, phrase := rng.choice(choices))):
            shown = phrase if rng.random() < 0.5 else phrase.lower()
            shown = f"the {shown}" if rng.random() < 0.25 else shown
            yield ask(rng, asking.ABOUT, quotes, "about", x=shown)


def keywords(reading: Reading, rng: random.Random) -> Iterator[Ask]:
    """A few words of one sentence, as typed into a search box."""
    for item in _picked(reading, rng, 30):
        rare = [
            word
            for word in dict.fromkeys(words(item.quote.text))
            if word not in STOP_WORDS and len(word) > 3 and reading.vocabulary[word] <= 3
        ]
        if len(rare) >= 3:
            chosen = rng.sample(rare, rng.choice([2, 3, 3]))
            if rng.random() < 0.7:
                chosen.sort(key=item.quote.text.lower().find)
            forms = ["{x}", "{x}?", "Where does it say {x}?", "find: {x}", "passage with {x}"]
            yield ask(rng, forms, [item.quote], "keywords", x=" ".join(chosen))


def dates(reading: Reading, rng: random.Random) -> Iterator[Ask]:
    """Sentences with a date -> when, and what happened then."""
    for item in _picked(reading, rng, 150):
        found = _DATE.search(item.quote.text)
        if not found:
            continue
        if quotes := _holding(reading, found[0], 2):
            yield ask(rng, asking.HAPPENED, quotes, "date", x=found[0])
        passive = _PASSIVE.match(item.quote.text)
        if passive and passive[1].lower() not in _BAD_SUBJECTS:
            subject = _lower_first(passive[1])
            yield ask(rng, asking.WHEN, [item.quote], "when", x=subject, v=passive[2])


def people(reading: Reading, rng: random.Random) -> Iterator[Ask]:
    """Who did it, and who somebody is."""
    for item in _picked(reading, rng, 150):
        passive, by = _PASSIVE.match(item.quote.text), _BY.search(item.quote.text)
        if passive and by and passive[1].lower() not in _BAD_SUBJECTS:
            subject = _lower_first(passive[1])
            yield ask(rng, asking.WHO_DID, [item.quote], "who", x=subject, v=passive[2])
        titled = _TITLED.search(item.quote.text)
        if titled and (quotes := _holding(reading, titled[1])):
            yield ask(rng, asking.WHO_IS, quotes, "who", x=titled[1])


def numbers(reading: Reading, rng: random.Random) -> Iterator[Ask]:
    """How many of something, where only one sentence counts it."""
    for item in _picked(reading, rng, 150):
        match = _COUNT.search(item.quote.text)
        if not match or match[1] in ("years", "times", "things", "cases", "ways"):
            continue
        noun = re.escape(match[1])
        rivals = re.findall(_COUNT.pattern.replace("([a-z]{3,}s)", f"({noun})"), reading.flat)
        if len(rivals) == 1:
            yield ask(rng, asking.HOW_MANY, [item.quote], "how many", x=match[1])


def reasons(reading: Reading, rng: random.Random) -> Iterator[Ask]:
    """`S because R` -> why S?"""
    for item in _picked(reading, rng, 150):
        match = _REASON.match(item.quote.text)
        if match and not re.search(r"[.;:?]", match[1]):
            yield ask(rng, asking.WHY, [item.quote], "why", x=_lower_first(match[1]))


def how_to(reading: Reading, rng: random.Random) -> Iterator[Ask]:
    """`To do X, ...` and headings like `Installing X`."""
    for item in reading.sentences:
        if match := _PURPOSE.match(item.quote.text):
            yield ask(rng, asking.HOW_TO, [item.quote], "how to", x=match[1])
        gerund = _GERUND.match(item.heading)
        if gerund and item.opens:
            verb = gerund[1].lower()
            if re.search(r"(?:at|ur|is|uc|ov|ag|iz|ak|us|rit|ut|ang|fin)$", verb):
                verb += "e"
            elif len(verb) > 2 and verb[-1] == verb[-2] and verb[-1] in "nptg":
                verb = verb[:-1]
            yield ask(
                rng, asking.HOW_TO, [item.quote], "how to", x=f"{verb} {gerund[2].strip().lower()}"
            )


def sections(reading: Reading, rng: random.Random) -> Iterator[Ask]:
    """A heading -> the first sentences below it."""
    for index, item in enumerate(reading.sentences):
        head = item.heading
        before = reading.sentences[index - 1].heading if index else ""
        if not item.opens or not head or head == before or not 4 <= len(head) <= 70:
            continue
        if reading.occurrences(head) > 3:
            continue
        shown = head if rng.random() < 0.5 else rng.choice([f'"{head}"', head.lower()])
        yield ask(rng, asking.SECTION, [item.quote], "section", x=shown)


def values(reading: Reading, rng: random.Random) -> Iterator[Ask]:
    """`Key: value` lines -> the line."""
    lines = rng.sample(reading.lines, min(200, len(reading.lines)))
    for line in lines:
        match = _VALUE.match(line.quote.text)
        if match and reading.occurrences(match[1]) == 1 and line.language in (None, "markdown"):
            key = match[1] if rng.random() < 0.4 else match[1].lower()
            yield ask(rng, asking.VALUE, [line.quote], "value", x=key)


FINDERS: tuple[tuple[Finder, float], ...] = (
    (definitions, 1.6),
    (entities, 1.2),
    (terms, 1.0),
    (keywords, 0.8),
    (dates, 1.3),
    (people, 1.2),
    (numbers, 0.9),
    (reasons, 0.8),
    (how_to, 1.0),
    (sections, 1.0),
    (values, 0.9),
)


def prose_asks(reading: Reading, rng: random.Random, count: int) -> list[Ask]:
    """Up to `count` questions of mixed kinds."""
    return draw([(finder(reading, rng), weight) for finder, weight in FINDERS], rng, count)
