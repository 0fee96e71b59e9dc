"""Questions about source code whose answers are lines of it."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from runtime.distill import asking
from runtime.distill.asking import Ask, ask, draw
from runtime.distill.reading import Line, Quote, Reading, content_words
from runtime.distill.summaries import description_of, description_quote, first_description

_DEFINITIONS = (
    ("function", re.compile(r"^(?:async )?def (\w+)\s*\(")),
    ("class", re.compile(r"^class (\w+)")),
    ("function", re.compile(r"^(?:export )?(?:default )?(?:async )?function\*? (\w+)\s*\(")),
    ("class", re.compile(r"^export (?:default )?class (\w+)")),
    ("function", re.compile(r"^(?:module\.)?exports\.(\w+) = (?:async )?function")),
    ("function", re.compile(r"^func (?:\([^)]*\) )?(\w+)\(")),
    ("type", re.compile(r"^type (\w+) (?:struct|interface|func)")),
    ("function", re.compile(r"^(?:pub(?:\([^)]*\))? )?(?:const |async |unsafe )*fn (\w+)")),
    ("type", re.compile(r"^(?:pub(?:\([^)]*\))? )?(?:struct|enum|trait) (\w+)")),
)
_CODE = ("python", "javascript", "typescript", "go", "rust")
_CONSTANT = re.compile(
    r"^(?:const |let |var |static |pub const )?([A-Z][A-Z0-9_]{3,})\b[^=]{0,30}= ?(\S.*)$"
)
_INHERITS = re.compile(r"^(?:export )?class (\w+)(?:\((\w[^)]*)\)| extends (\w+))")


@dataclass(frozen=True, slots=True)
class Definition:
    """A definition's line, its name, and the lines of its body."""

    name: str
    kind: str
    line: Line
    owner: str  # the class around it, "" if there is none
    body: tuple[Line, ...]


def definitions(reading: Reading) -> list[Definition]:
    """The definitions of all code files, in order."""
    found: list[Definition] = []
    owner, owner_indent, part = "", -1, -1
    lines = reading.lines
    for index, line in enumerate(lines):
        if line.language not in _CODE:
            continue
        if line.in_part != part or (owner and line.indent <= owner_indent):
            owner, owner_indent, part = "", -1, line.in_part
        for kind, pattern in _DEFINITIONS:
            match = pattern.match(line.quote.text)
            if not match:
                continue
            body = _body(lines, index)
            found.append(Definition(match[1], kind, line, owner, tuple(body)))
            if kind == "class" and line.language == "python":
                owner, owner_indent = match[1], line.indent
            break
    return found


def _body(lines: list[Line], index: int) -> list[Line]:
    start, body = lines[index], []
    for line in lines[index + 1 : index + 80]:
        closing = line.indent <= start.indent and not re.match(r"[)}\]]", line.quote.text)
        if line.in_part != start.in_part or closing:
            break
        body.append(line)
    return body


def _docstring(item: Definition, reading: Reading) -> Line | None:
    """The line that describes a definition: its docstring's first, or the comment above."""
    for line in item.body[:4]:
        if description_of(line):
            return line
    above: Line | None = None
    for line in reversed(reading.lines[max(0, item.line.number - 12) : item.line.number]):
        if not re.match(r"(?://|///|\*|/\*\*)", line.quote.text):
            break
        above = line if description_of(line) else above
    return above


class CodeReading:
    """The unique definitions of a reading, found once for all finders."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.all = definitions(reading)
        counts = Counter(item.name for item in self.all)
        self.names = set(counts)
        self.unique = [
            item
            for item in self.all
            if counts[item.name] == 1
            and not item.name.startswith("__")
            and len(item.name) > 2
            and len(item.line.quote.text) < 240
        ]

    def shuffled(self, rng: random.Random) -> list[Definition]:
        """The unique definitions in random order."""
        return rng.sample(self.unique, len(self.unique))


def spoken(item: Definition, rng: random.Random) -> str:
    """A definition's name as people write it."""
    name = item.name
    forms = [name, name, f"`{name}`", f"the {item.kind} {name}", f"{item.kind} {name}"]
    if item.kind == "function":
        forms += [f"{name}()", f"`{name}()`", f"the {name} function"]
        forms += (
            [f"{item.owner}.{name}", f"the {name} method of {item.owner}"] if item.owner else []
        )
    else:
        forms += [f"the {name} {item.kind}"]
    return rng.choice(forms)


Finder = Callable[[CodeReading, random.Random], Iterator[Ask]]


def where_defined(code: CodeReading, rng: random.Random) -> Iterator[Ask]:
    """The definition's line."""
    for item in code.shuffled(rng):
        name = spoken(item, rng)
        yield ask(rng, asking.WHERE_DEFINED, [item.line.quote], "code where", x=name)


def what_does(code: CodeReading, rng: random.Random) -> Iterator[Ask]:
    """The definition's line and what its documentation says."""
    for item in code.shuffled(rng):
        if line := _docstring(item, code.reading):
            quotes = [item.line.quote, description_quote(code.reading.lines, line.number)]
            if line.number < item.line.number:
                quotes.reverse()
            yield ask(rng, asking.DOES, quotes, "code does", x=spoken(item, rng))


def returns(code: CodeReading, rng: random.Random) -> Iterator[Ask]:
    """The definition's line and its only return statements."""
    for item in code.shuffled(rng):
        lines = [line for line in item.body if re.match(r"return \S", line.quote.text)]
        ended = all(not re.search(r"[(\[{,]$", line.quote.text) for line in lines)
        if item.kind == "function" and 1 <= len(lines) <= 2 and ended and len(item.body) < 60:
            quotes = [item.line.quote, *(line.quote for line in lines)]
            yield ask(rng, asking.RETURNS, quotes, "code returns", x=spoken(item, rng))


def arguments(code: CodeReading, rng: random.Random) -> Iterator[Ask]:
    """The signature, where it is on one line."""
    for item in code.shuffled(rng):
        if item.kind == "function" and re.search(r"\(.+\)", item.line.quote.text):
            name = spoken(item, rng)
            yield ask(rng, asking.ARGUMENTS, [item.line.quote], "code arguments", x=name)


def inherits(code: CodeReading, rng: random.Random) -> Iterator[Ask]:
    """The class line that names the bases."""
    for item in code.shuffled(rng):
        if item.kind == "class" and _INHERITS.match(item.line.quote.text):
            name = spoken(item, rng)
            yield ask(rng, asking.INHERITS, [item.line.quote], "code inherits", x=name)


def constants(code: CodeReading, rng: random.Random) -> Iterator[Ask]:
    """The line that sets a constant."""
    lines = [line for line in code.reading.lines if line.language in _CODE]
    matches = [(m[1], line) for line in lines if (m := _CONSTANT.match(line.quote.text))]
    counts = Counter(name for name, _ in matches)
    rng.shuffle(matches)
    for name, line in matches:
        if counts[name] == 1 and len(line.quote.text) < 160:
            shown = rng.choice([name, name, f"`{name}`", f"the constant {name}"])
            yield ask(rng, asking.CONSTANT, [line.quote], "code constant", x=shown)


def calls(code: CodeReading, rng: random.Random) -> Iterator[Ask]:
    """The lines that call a function."""
    for item in code.shuffled(rng)[:25]:
        if item.kind != "function" or len(item.name) < 5:
            continue
        pattern = re.compile(rf"\b{re.escape(item.name)}\(")
        lines = [
            line
            for line in code.reading.lines
            if pattern.search(line.quote.text) and line.number != item.line.number
        ]
        if 1 <= len(lines) <= 3 and all(line.language in _CODE for line in lines):
            quotes = [line.quote for line in lines]
            yield ask(rng, asking.CALLED, quotes, "code calls", x=spoken(item, rng))


def handles(code: CodeReading, rng: random.Random) -> Iterator[Ask]:
    """A file's description, asked for by its rare words."""
    by_part: dict[int, list[Line]] = {}
    for line in code.reading.lines:
        by_part.setdefault(line.in_part, []).append(line)
    parts = list(by_part.values())
    rng.shuffle(parts)
    for lines in parts:
        first = first_description(lines)
        if first is None or first.indent or first.language not in _CODE:
            continue
        tokens = content_words(first.quote.text)
        rare = [word for word in tokens if code.reading.vocabulary[word] <= 6 and len(word) > 3]
        if len(rare) >= 2:
            at = rng.randrange(len(rare) - 1)
            topic = " ".join(rare[at : at + 2])
            quote = description_quote(code.reading.lines, first.number)
            yield ask(rng, asking.HANDLES, [quote], "code handles", x=topic)


FINDERS: tuple[tuple[Finder, float], ...] = (
    (where_defined, 3.0),
    (what_does, 1.6),
    (returns, 1.2),
    (arguments, 0.7),
    (inherits, 0.5),
    (constants, 0.8),
    (calls, 0.5),
    (handles, 0.8),
)


def code_asks(code: CodeReading, rng: random.Random, count: int) -> list[Ask]:
    """Up to `count` questions of mixed kinds."""
    return draw([(finder(code, rng), weight) for finder, weight in FINDERS], rng, count)


def undefined(name: str, known: set[str], rng: random.Random) -> str | None:
    """A name like this one that nothing defines; None if that fails."""
    pieces = [piece for piece in re.split(r"_|(?<=[a-z])(?=[A-Z])", name) if piece]
    swaps = [
        "load",
        "save",
        "parse",
        "build",
        "check",
        "merge",
        "render",
        "encode",
        "index",
        "cache",
    ]
    extra = rng.choice(swaps)
    made = f"{extra}_{name}" if rng.random() < 0.5 else f"{name}_{extra}"
    if len(pieces) > 1 and rng.random() < 0.7:
        at = rng.randrange(len(pieces))
        pieces[at] = extra if pieces[at].islower() else extra.title()
        made = "_".join(pieces) if "_" in name else "".join(pieces)
    return made if made not in known else None


def project_summary(quotes: list[Quote], rng: random.Random) -> Ask:
    """What the whole project does, from the first quotes of its summary."""
    return ask(rng, asking.PROJECT, quotes, "project")
