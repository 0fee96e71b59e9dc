"""A question with its quotes, and the many ways in which people word the common questions."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from runtime.distill.reading import Quote


@dataclass(frozen=True, slots=True)
class Ask:
    """A question and the quotes that answer it, in document order; none if unanswerable."""

    question: str
    quotes: tuple[Quote, ...]
    kind: str


def _forms(text: str) -> list[str]:
    return text.split("|")


ABOUT = _forms(
    "What does the document say about {x}?|what does it say about {x}?|Tell me about {x}.|"
    "What is said about {x}?|Is there anything about {x}?|{x}|{x}?|Where is {x} mentioned?|"
    "Find what is said about {x}.|Which sentence mentions {x}?|What do we learn about {x}?|"
    "Is {x} mentioned?|quote what it says on {x}|How is {x} described?|information on {x}|"
    "What does the text state regarding {x}?|Show me the passage on {x}|Does it mention {x}?|"
    "what about {x}|I need to know about {x}|Explain {x}.|anything on {x}?|"
    "What is written about {x}?|look up {x}"
)
DEFINE = _forms(
    "What is {x}?|what is {x}|What's {x}?|Define {x}.|What does {x} mean?|Explain what {x} is.|"
    "How does the document define {x}?|definition of {x}|Can you tell me what {x} is?|"
    "What exactly is {x}?|Describe {x}.|{x}?|what is meant by {x}|Tell me what {x} is"
)
DEFINE_MANY = _forms(
    "What are {x}?|what are {x}|Define {x}.|Explain what {x} are.|What does the document say "
    "{x} are?|definition of {x}|Describe {x}.|Tell me what {x} are.|What exactly are {x}?"
)
HAPPENED = _forms(
    "What happened in {x}?|What happened on {x}?|what was in {x}|What does it say about {x}?|"
    "Which event took place in {x}?|What is dated {x}?|What took place on {x}?|{x}?|"
    "What is said to have happened in {x}?|events of {x}"
)
WHEN = _forms(
    "When was {x} {v}?|when was {x} {v}|In which year was {x} {v}?|What year was {x} {v}?|"
    "Since when is {x} {v}?|date when {x} was {v}|On what date was {x} {v}?|"
    "Do we know when {x} was {v}?"
)
WHO_DID = _forms(
    "Who {v} {x}?|who {v} {x}|By whom was {x} {v}?|Which person {v} {x}?|{x} was {v} by whom?|"
    "Do we know who {v} {x}?|Name who {v} {x}."
)
WHO_IS = _forms(
    "Who is {x}?|who is {x}|Who was {x}?|What does the document say about {x}?|Tell me about {x}.|"
    "What role does {x} have?|What did {x} do?|{x}?"
)
HOW_MANY = _forms(
    "How many {x}?|How many {x} are there?|how many {x}|What is the number of {x}?|number of {x}|"
    "How many {x} are mentioned?|How many {x} does the document give?|count of {x}"
)
WHY = _forms(
    "Why {x}?|why {x}|What is the reason that {x}?|Why is it that {x}?|For what reason {x}?|"
    "Explain why {x}.|How come {x}?|Does it say why {x}?"
)
HOW_TO = _forms(
    "How do I {x}?|how to {x}|How can I {x}?|How does one {x}?|What must I do to {x}?|"
    "How would you {x}?|Steps to {x}?|I want to {x}. How?|What is the way to {x}?|how do you {x}?"
)
SECTION = _forms(
    "What does the section {x} say?|What is said under {x}?|What does the document say about {x}?|"
    "What is the section {x} about?|Summarize the section {x} in a sentence.|{x}|{x}?|"
    "Read me the beginning of {x}.|What comes under the heading {x}?|Explain {x}.|"
    "How does the part on {x} begin?"
)
VALUE = _forms(
    "What is the {x}?|what is the {x}|{x}?|{x}|What is given as the {x}?|Give me the {x}.|"
    "Which {x} is stated?|Tell me the {x}.|What does it say for {x}?|How is the {x} given?"
)
WHOLE = _forms(
    "What is this document about?|What is this about?|what is it about|What is the main point?|"
    "Give me the gist.|What is the subject of this document?|What should I know about this?|"
    "tl;dr|What is the most important statement?|What does this text deal with?|"
    "In a nutshell, what is this?|What's this file about?|What are the main points?"
)
PROJECT = _forms(
    "What does this project do?|What is this project about?|what does this repo do?|"
    "What is this codebase for?|What is the purpose of this code?|Explain this repository.|"
    "What does this package do?|What is this library?|Give me an overview of the project.|"
    "What is in this repository?|what is this program for"
)
WHERE_DEFINED = _forms(
    "Where is {x} defined?|where is {x} defined|Where is {x}?|Find the definition of {x}.|Which "
    "file defines {x}?|Where can I find {x}?|In which file is {x}?|Show the definition of {x}.|"
    "Locate {x}.|Where does {x} live?|definition of {x}|where's {x}|{x} is defined where?|Which "
    "file contains {x}?|Where is {x} implemented?|go to {x}|What line is {x} on?|where do I find "
    "the code of {x}?|Which module has {x}?|show me {x}"
)
DOES = _forms(
    "What does {x} do?|what does {x} do|What is {x} for?|Explain {x}.|What is the purpose of {x}?|"
    "Describe {x}.|How is {x} documented?|What happens in {x}?|Why is there {x}?|"
    "tell me what {x} does|What's {x}?|What is the job of {x}?"
)
RETURNS = _forms(
    "What does {x} return?|what does {x} return|What is the return value of {x}?|"
    "What comes back from {x}?|What is returned by {x}?|return value of {x}|"
    "What do I get from {x}?|Which value does {x} give back?"
)
ARGUMENTS = _forms(
    "What arguments does {x} take?|What are the parameters of {x}?|signature of {x}|"
    "How do I call {x}?|Which parameters does {x} have?|What is the signature of {x}?|"
    "what can I pass to {x}?|arguments of {x}"
)
INHERITS = _forms(
    "What does {x} inherit from?|What is the base class of {x}?|Which class does {x} extend?|"
    "parent class of {x}|What is {x} derived from?|superclass of {x}?"
)
CONSTANT = _forms(
    "What is the value of {x}?|What is {x}?|what is {x} set to|Where is {x} set?|value of {x}|"
    "What is the default of {x}?|Which value does {x} have?|Where is {x} defined?"
)
CALLED = _forms(
    "Where is {x} called?|Where is {x} used?|Who calls {x}?|Which lines call {x}?|usages of {x}|"
    "Find the calls of {x}.|where do we use {x}?|Show where {x} is called."
)
HANDLES = _forms(
    "Which file handles {x}?|Where is the code for {x}?|Which module is about {x}?|"
    "which file deals with {x}?|Where is {x} handled?|What part of the code does {x}?|"
    "Where do I look for {x}?|which module is responsible for {x}?"
)


def ask(rng: random.Random, forms: list[str], quotes: list[Quote], kind: str, **slots: str) -> Ask:
    """A question in one of the forms, sometimes as sloppily typed as people do."""
    text = rng.choice(forms).format(**slots)
    roll = rng.random()
    if roll < 0.08:
        text = text[:1].lower() + text[1:]
    elif roll < 0.14:
        text = text.rstrip("?.")
    elif roll < 0.18:
        text = rng.choice(["Please tell me: ", "Question: ", "Quick question: "]) + text
    elif roll < 0.2:
        text = text.lower() if not kind.startswith("code") else text
    return Ask(text, tuple(quotes), kind)


def draw(
    streams: Iterable[tuple[Iterator[Ask], float]], rng: random.Random, count: int
) -> list[Ask]:
    """Up to `count` questions from weighted streams, no two alike or with the same first quote."""
    left = list(streams)
    asks: list[Ask] = []
    seen: set[str] = set()
    while left and len(asks) < count:
        pick = rng.choices(range(len(left)), [weight for _, weight in left])[0]
        made = next(left[pick][0], None)
        if made is None:
            left.pop(pick)
        elif made.question not in seen and made.quotes[0].text not in seen:
            seen |= {made.question, made.quotes[0].text}
            asks.append(made)
    return asks
