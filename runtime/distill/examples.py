"""One training example: a document, turns of tasks about it, and the true answers."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from runtime.distill import asking, facts
from runtime.distill.asking import Ask, ask
from runtime.distill.asks_code import CodeReading, code_asks, project_summary, undefined
from runtime.distill.asks_prose import prose_asks
from runtime.distill.corpus import Text
from runtime.distill.documents import DocumentMaker
from runtime.distill.layout import DocumentLike, Layout
from runtime.distill.reading import Quote, Reading
from runtime.distill.summaries import random_focus, select, summarize

CHARS_PER_TOKEN = {"pdf": 4.1, "text": 4.0, "repo": 3.0, "notes": 3.6}


@dataclass(frozen=True, slots=True)
class Turn:
    """A task line and its answer."""

    task: str
    answer: str
    kind: str


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt's prefix and the turns about its document."""

    prefix: str
    turns: tuple[Turn, ...]
    reading: Reading


class ExampleMaker:
    """Makes examples without end from corpus texts."""

    def __init__(self, layout: Layout, texts: Sequence[Text], seed: int) -> None:
        self.layout, self.rng = layout, random.Random(seed)
        self.documents = DocumentMaker(layout, texts, self.rng)
        self.strangers: list[str] = []  # questions about other documents

    def turn(self, made: Ask) -> Turn:
        """A question and its answer as text."""
        answer = "\n".join(quote.bullet() for quote in made.quotes) or self.layout.not_found
        return Turn(self.layout.question_task(made.question), answer, made.kind)

    def summary(self, reading: Reading, length: str, focus: str | None) -> Turn | None:
        """A summary task; None if nothing in the document is quotable."""
        quotes = summarize(reading, self.layout.summary_quotes(length), focus)
        if not quotes:
            return None
        task = self.layout.summary_task(length, focus)
        return Turn(task, "\n".join(quote.bullet() for quote in quotes), "summary")

    def random_summary(self, reading: Reading) -> Turn | None:
        """A summary of random length, sometimes with a focus."""
        rng = self.rng
        length = rng.choice(
            ["short"] * 4 + ["medium"] * 4 + ["long"] + [str(20 * rng.randint(1, 10))]
        )
        focus = random_focus(reading, rng) if rng.random() < 0.2 else None
        return self.summary(reading, length, focus)

    def whole(self, reading: Reading, is_code: bool) -> Ask | None:
        """What is this about? -> the first two or three quotes of a short summary."""
        quotes = summarize(reading, self.rng.choice([1, 2, 3]), None)
        if not quotes:
            return None
        if is_code:
            return project_summary(quotes, self.rng)
        return ask(self.rng, asking.WHOLE, quotes, "whole")

    def unanswerable(self, reading: Reading, code: CodeReading | None) -> Ask | None:
        """A question whose answer is not in the document."""
        rng = self.rng
        if code is not None and code.unique and rng.random() < 0.6:
            item = rng.choice(code.unique)
            name = undefined(item.name, code.names, rng)
            if name is None or name.lower() in reading.flat:
                return None
            shown = rng.choice([name, f"`{name}`", f"{name}()", f"the {item.kind} {name}"])
            forms = rng.choice([asking.WHERE_DEFINED, asking.DOES, asking.RETURNS])
            return ask(rng, forms, [], "unanswerable", x=shown)
        if rng.random() < 0.3 or not self.strangers:
            fact = facts.make_fact(rng, rng.randrange(len(facts.TRAINED)))
            absent = not all(value.lower() in reading.flat for value in fact.asked)
            return Ask(fact.question, (), "unanswerable") if absent else None
        question, key = rng.choice(self.strangers).split("\x00")
        return Ask(question, (), "unanswerable") if key.lower() not in reading.flat else None

    def remember(self, made: Ask) -> None:
        """Keeps a question to ask it of other documents, where it has no answer."""
        if made.kind in ("about", "define", "who", "date", "code where", "code does", "keywords"):
            tokens = [w.strip("?.,`\"'()") for w in made.question.split()]
            rare = [w for w in tokens if len(w) > 4 and w.lower() in made.quotes[0].text.lower()]
            if rare:
                self.strangers.append(f"{made.question}\x00{max(rare, key=len)}")
                if len(self.strangers) > 3000:
                    self.strangers.pop(self.rng.randrange(1500))

    def make(self, tokens: int) -> Example | None:
        """An example whose document has about this many tokens."""
        rng = self.rng
        kind = rng.choices(["pdf", "text", "repo", "notes"], [0.36, 0.24, 0.32, 0.08])[0]
        chars = int(tokens * CHARS_PER_TOKEN[kind])
        planted: list[facts.Fact] = []
        if kind == "notes":
            document = self.notes(chars)
        else:
            # Needles in long documents are the hardest: more of them stand there.
            counts = [0, 0, 1, 2, 3, 5] if tokens < 3000 else [0, 1, 2, 3, 5, 8]
            planted = facts.make_facts(rng, rng.choice(counts))
            document = self.plain(kind, chars, planted)
        if not document.parts:
            return None
        reading = Reading(self.layout, document)
        turns = self.turns(reading, planted, is_code=kind == "repo", short=tokens < 700)
        if not turns:
            return None
        prefix = self.layout.prefix(document, outline_last=kind == "repo" and rng.random() < 0.3)
        return Example(prefix, tuple(turns), reading)

    def plain(self, kind: str, chars: int, planted: Sequence[facts.Fact]) -> DocumentLike:
        """A document of one shape, with facts planted in it."""
        make = {
            "pdf": self.documents.pdf_document,
            "text": self.documents.text_document,
            "repo": self.documents.repository,
        }[kind]
        document = make(chars)
        for fact in planted:
            document = self.plant(document, fact, self.rng.random())
        return document

    def plant(self, document: DocumentLike, fact: facts.Fact, depth: float) -> DocumentLike:
        """The document with a fact at a relative depth."""
        parts = list(document.parts)
        sizes = [len(part.text) for part in parts]
        target, index = depth * sum(sizes), 0
        while index < len(parts) - 1 and target > sizes[index]:
            target -= sizes[index]
            index += 1
        part = parts[index]
        comment = {"python": "#", "javascript": "//", "go": "//", "rust": "//"}.get(
            part.language or "", ""
        )
        inside = min(1.0, target / max(1, sizes[index]))
        text = facts.plant(part.text, fact.sentence, self.rng, inside, comment=comment)
        names = ("path", "first_line", "page", "page_label", "cell", "language")
        kept = {name: getattr(part, name) for name in names}
        parts[index] = self.layout.part(text=text, **kept)
        return self.layout.document(parts, document.outline)

    def fact_quote(self, reading: Reading, sentence: str) -> Quote | None:
        """Where a planted fact stands, if it stands in one block."""
        for block in reading.blocks:
            text = " ".join(block.text.split())
            if sentence in text:
                marks = ("#", "//") if block.part.language else ()
                mark = next((m for m in marks if f"{m} {sentence}" in text), "")
                return Quote(f"{mark} {sentence}".strip(), block.reference)
        return None

    def needle_asks(self, reading: Reading, planted: Sequence[facts.Fact]) -> list[Ask]:
        """Questions for planted facts, and look-alikes that have no answer."""
        asks = []
        for fact in planted:
            quote = self.fact_quote(reading, fact.sentence)
            if quote is not None:
                asks.append(Ask(fact.question, (quote,), "needle"))
            others = [other.sentence for other in planted]
            absent = not any(facts.answers(other, fact.missing) for other in others)
            if self.rng.random() < 0.35 and fact.missing and absent:
                asks.append(Ask(fact.near_miss, (), "unanswerable"))
        return asks

    def turns(
        self, reading: Reading, planted: Sequence[facts.Fact], *, is_code: bool, short: bool
    ) -> list[Turn]:
        """Tasks in random order."""
        rng = self.rng
        count = rng.choice([1, 2, 3]) if short else rng.choice([2, 4, 6, 8])
        code = CodeReading(reading) if is_code else None
        asks = self.needle_asks(reading, planted)
        asks = rng.sample(asks, min(len(asks), max(1, count // 2)))
        if code is not None:
            asks += code_asks(code, rng, count)
            asks += prose_asks(reading, rng, rng.choice([0, 0, 1]))
        else:
            asks += prose_asks(reading, rng, count)
        hidden = [fact.sentence for fact in planted]
        asks = [made for made in asks if made.kind == "needle" or not _quotes_any(made, hidden)]
        for made in asks:
            if made.quotes:
                self.remember(made)
        for _ in range(1 + count // 4):
            stranger = self.unanswerable(reading, code) if rng.random() < 0.5 else None
            if stranger is not None:
                asks.append(stranger)
        rng.shuffle(asks)
        asks = asks[:count]
        overall = self.whole(reading, is_code) if rng.random() < 0.25 else None
        if overall is not None and not _quotes_any(overall, hidden):
            asks.insert(rng.randint(0, len(asks)), overall)
        turns = [self.turn(made) for made in asks]
        summary = self.random_summary(reading) if rng.random() < 0.7 else None
        if summary is not None and not any(fact in summary.answer for fact in hidden):
            turns.insert(rng.randint(0, len(turns)), summary)
        return turns

    def notes(self, chars: int) -> DocumentLike:
        """What the windowed path reads last: short quotes, each a part with its own place."""
        rng = self.rng
        source = self.plain(rng.choice(["pdf", "text", "repo"]), chars * 5, ())
        reading = Reading(self.layout, source)
        quotes = {quote.text: quote for quote in select(reading.sentences, 60)}
        by_reference = {block.reference: block for block in reading.blocks}
        parts = []
        total = 0
        for quote in quotes.values():
            block = by_reference[quote.reference]
            part = block.part
            line = part.first_line + part.text.count("\n", 0, block.start)
            parts.append(
                self.layout.part(path=part.path, text=quote.text, first_line=line, page=part.page)
            )
            total += len(quote.text) + 20
            if total > chars:
                break
        return self.layout.document(parts)


def _quotes_any(made: Ask, sentences: list[str]) -> bool:
    return any(sentence in quote.text for quote in made.quotes for sentence in sentences)
