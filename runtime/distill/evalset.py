"""The held-out prompts of the evaluation, with what each answer must hold."""

from __future__ import annotations

import json
import lzma
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from runtime.distill import facts
from runtime.distill.asking import WHERE_DEFINED, ask
from runtime.distill.asks_code import CodeReading, code_asks, undefined
from runtime.distill.asks_prose import prose_asks
from runtime.distill.corpus import Text, find_archive, load, read_members, tidy
from runtime.distill.dataset import Encoder
from runtime.distill.documents import cut_at_line, wrap
from runtime.distill.examples import CHARS_PER_TOKEN, ExampleMaker
from runtime.distill.layout import DocumentLike, Layout
from runtime.distill.reading import Reading
from runtime.distill.sources import ABSTRACTS
from runtime.distill.summaries import summarize
from runtime.distill.tokens import read_encoding
from runtime.quoting import AnswerForm, Quotable


@dataclass(frozen=True, slots=True)
class Item:
    """A prompt with its document's blocks and the quotes expected (none: unanswerable)."""

    kind: str
    task: str
    ids: list[int]
    blocks: list[tuple[str, str]]  # reference, white space normalized text
    expected: list[str]
    tokens: int
    form: AnswerForm  # what the command line lets the model answer
    abstract: str = ""
    sentences: tuple[str, ...] = ()


class SetMaker:
    """Makes items from held-out texts."""

    def __init__(self, layout: Layout, texts: list[Text], tokenizer: Path, seed: int) -> None:
        self.maker = ExampleMaker(layout, texts, seed)
        self.layout, self.rng = layout, self.maker.rng
        self.encoder = Encoder(read_encoding(tokenizer))
        self.rng = random.Random(seed + 1)

    def item(
        self,
        kind: str,
        reading: Reading,
        task: str,
        expected: list[str],
        limit: int,
        **more: object,
    ) -> Item | None:
        """The item, or None if its prompt is longer than `limit` tokens."""
        ids = self.encoder.opening(self.layout.prefix(reading.document), task)
        if len(ids) > limit:
            return None
        blocks = [(block.reference, " ".join(block.text.split())) for block in reading.blocks]
        form = self.layout.form(reading.document, task)
        return Item(kind, task, ids, blocks, expected, len(ids), form, **more)  # type: ignore[arg-type]

    def reading(self, kind: str, tokens: int) -> Reading:
        """A held-out document of about this many tokens."""
        document = self.maker.plain(kind, int(tokens * CHARS_PER_TOKEN[kind]), ())
        return Reading(self.layout, document)

    def needles(self, length: int, count: int) -> Iterator[Item]:
        """One planted fact of an unseen template, depths spread evenly; and its look-alike."""
        made = 0
        while made < count:
            kind = self.rng.choice(["pdf", "text"])
            document: DocumentLike = self.reading(kind, int(length * 0.9)).document
            fact = facts.make_fact(self.rng, made % len(facts.HELD_OUT), held_out=True)
            reading = Reading(self.layout, self.maker.plant(document, fact, (made + 0.5) / count))
            if self.maker.fact_quote(reading, fact.sentence) is None:
                continue
            task = self.layout.question_task(fact.question)
            item = self.item(f"needle {length}", reading, task, [fact.sentence], length)
            if item is None or item.tokens < 0.7 * length:
                continue
            made += 1
            yield item
            if made % 2 == 0 and not facts.answers(fact.sentence, fact.missing):
                task = self.layout.question_task(fact.near_miss)
                miss = self.item("unanswerable near", reading, task, [], length)
                if miss is not None:
                    yield miss

    def code(self, count: int, low: int = 4000, high: int = 8000) -> Iterator[Item]:
        """Where is it defined, in repositories of 4-8k tokens; and names that nothing defines."""
        made = 0
        while made < count:
            reading = self.reading("repo", self.rng.randint(low, high))
            code = CodeReading(reading)
            asks = [a for a in code_asks(code, self.rng, 12) if a.kind == "code where"][:2]
            for question in asks:
                task = self.layout.question_task(question.question)
                expected = [quote.text for quote in question.quotes]
                item = self.item("code definition", reading, task, expected, 8192)
                if item is not None and item.tokens >= low:
                    made += 1
                    yield item
            if not code.unique or not asks:
                continue
            name = undefined(self.rng.choice(code.unique).name, code.names, self.rng)
            if name and name.lower() not in reading.flat:
                miss = ask(self.rng, WHERE_DEFINED, [], "code", x=name)
                task = self.layout.question_task(miss.question)
                item = self.item("unanswerable code", reading, task, [], 8192)
                if item is not None:
                    yield item

    def questions(self, count: int) -> Iterator[Item]:
        """Questions of all kinds over prose and code, and questions about other documents."""
        made = 0
        strangers: list[str] = []
        while made < count:
            kind = self.rng.choice(["pdf", "text", "repo"])
            reading = self.reading(kind, self.rng.choice([500, 1000, 2000, 4000, 7000]))
            find = code_asks(CodeReading(reading), self.rng, 3) if kind == "repo" else None
            for question in find or prose_asks(reading, self.rng, 3):
                task = self.layout.question_task(question.question)
                expected = [quote.text for quote in question.quotes]
                item = self.item(f"ask {question.kind}", reading, task, expected, 8192)
                if item is not None:
                    made += 1
                    yield item
            if strangers and self.rng.random() < 0.6:
                task = strangers.pop()
                if not any(word in reading.flat for word in rare_words(task)):
                    item = self.item("unanswerable other", reading, task, [], 8192)
                    if item is not None:
                        yield item
            if find is None:
                for question in prose_asks(reading, self.rng, 1):
                    if question.kind in ("about", "define", "who"):
                        strangers.append(self.layout.question_task(question.question))

    def summaries(self, count: int) -> Iterator[Item]:
        """Summaries of held-out documents against the target method."""
        made = 0
        while made < count:
            kind = self.rng.choice(["pdf", "text", "repo"])
            reading = self.reading(kind, self.rng.choice([700, 1500, 3000, 6000]))
            length = self.rng.choice(["short", "medium"])
            quotes = summarize(reading, self.layout.summary_quotes(length))
            if len(quotes) < 2:
                continue
            task = self.layout.summary_task(length)
            expected = [quote.text for quote in quotes]
            if item := self.item("summary", reading, task, expected, 8192):
                made += 1
                yield item

    def abstracts(self, folder: Path, count: int) -> Iterator[Item]:
        """Summaries of research papers without their abstracts, as pages of a PDF."""
        archive = find_archive(folder, ABSTRACTS)
        papers = [] if archive is None else list(read_papers(archive))
        for title, abstract, body in papers[:count]:
            text = cut_at_line(wrap(f"{title}\n\n{body}", 88), 27_000)
            parts, page = [], 1
            while text:
                piece = cut_at_line(text, 3200)
                parts.append(self.layout.part(path="paper.pdf", text=piece, page=page))
                text, page = text[len(piece) :].lstrip("\n"), page + 1
            reading = Reading(self.layout, self.layout.document(parts))
            quotes = [quote.text for quote in summarize(reading, 3)]
            sentences = tuple(item.quote.text for item in reading.sentences)
            more = {"abstract": abstract, "sentences": sentences}
            task = self.layout.summary_task("short")
            if len(quotes) == 3 and (
                item := self.item("abstract", reading, task, quotes, 8192, **more)
            ):
                yield item


def rare_words(task: str) -> list[str]:
    """The long words of a question, in lower case."""
    return [word.strip("?.,`\"'()").lower() for word in task.split()[1:] if len(word) > 5]


def read_papers(archive: Path) -> Iterator[tuple[str, str, str]]:
    """Title, abstract and body of each paper."""
    for name, data in read_members(archive):
        if "paper_jsons/" not in name or not name.endswith(".json"):
            continue
        paper = json.loads(data)
        parsed = paper["pdf_parse"]
        body: list[str] = []
        heading = ""
        for paragraph in parsed["body_text"]:
            section = str(paragraph.get("section") or "")
            if section != heading and section:
                body.append(section)
                heading = section
            body.append(" ".join(str(paragraph["text"]).split()))
        abstract = " ".join(str(paper.get("abstract") or "").split())
        if len(abstract) > 300 and len(body) > 8:
            yield str(paper["title"]), abstract, tidy("\n\n".join(body))


NEEDLE_LENGTHS = (2048, 4096, 8192)
"""Tokens of the prompts that a planted fact is looked for in."""


def build(
    corpus: Path,
    packages: Path,
    tokenizer: Path,
    out: Path,
    size: float = 1.0,
    lengths: Sequence[int] = NEEDLE_LENGTHS,
) -> None:
    """Writes all items to a .json.xz file; `size` scales their number."""
    maker = SetMaker(Layout(), load(corpus), tokenizer, seed=2024)
    items: list[Item] = []
    for length in lengths:
        items += maker.needles(length, max(2, int(60 * size)))
    items += maker.code(max(2, int(100 * size)))
    items += maker.questions(max(2, int(240 * size)))
    items += maker.summaries(max(2, int(60 * size)))
    items += maker.abstracts(packages, max(2, int(100 * size)))
    with lzma.open(out, "wt", preset=4) as file:
        json.dump([asdict(item) for item in items], file)


def read(path: Path) -> list[Item]:
    """Reads back what `build` wrote."""
    with lzma.open(path, "rt") as file:
        return [_read_item(item) for item in json.load(file)]


def _read_item(item: dict[str, Any]) -> Item:
    form = item["form"]
    pieces = [Quotable(**piece) for piece in form["quotables"]]
    item["form"] = AnswerForm(**{**form, "quotables": pieces})
    item["blocks"] = [tuple(block) for block in item["blocks"]]
    return Item(**item)
