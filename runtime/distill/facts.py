"""Planted facts: sentences that no text holds by chance, with questions that ask for them."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass


def _list(text: str) -> list[str]:
    return text.split("|" if "|" in text else None)


_FIRST = _list(
    "Maria Tomas Aisha Kenji Lena Omar Priya Victor Ingrid Mateo Chloe Dmitri Fatima Henrik Yuki "
    "Samuel Nadia Oscar Elena Rahul Greta Pablo Mei Jonas Amara Felix Sofia Hugo Zara Emil Clara "
    "Ivan"
)
_LAST = _list(
    "Lindqvist Okafor Tanaka Moreau Petrov Alvarez Novak Haddad Jensen Rossi Kowalski Mbeki "
    "Fischer Silva Nguyen Larsen Costa Weber Ibrahim Dubois Sato Bauer Kaya Romero Varga Nilsson "
    "Osei Park"
)
_PLACE = _list(
    "Lisbon Oslo Nairobi Osaka Quito Tallinn Porto Bergen Valencia Krakow Adelaide Winnipeg "
    "Malmo Ghent Izmir Davao Leeds Bremen Trieste Cusco Hobart Calgary Turku Split Aarhus Lyon "
    "Tampa Kyoto"
)
_THING = _list(
    "pump|turbine|archive|server room|greenhouse|telescope|north gate|reservoir|ferry|laboratory|"
    "warehouse|conveyor|printing press|cold store|east wing|boiler|solar array|workshop|signal "
    "tower|backup generator|water tank|loading dock|chapel|harbour crane|data centre|tunnel|kiln|"
    "library"
)
_COLOR = _list("amber teal violet crimson ivory olive scarlet cobalt maroon turquoise ochre lilac")
_ANIMAL = _list("heron otter badger falcon lynx marmot pelican wombat ibex raven stoat puffin")
_PROJECT = [
    "Heron",
    "Juniper",
    "Atlas",
    "Borealis",
    "Quartz",
    "Sparrow",
    "Monsoon",
    "Cinder",
    "Lantern",
    "Obsidian",
    "Tundra",
]
_PRODUCT = [
    "scanner",
    "licence",
    "sensor kit",
    "battery pack",
    "filter set",
    "annual pass",
    "router",
    "spare valve",
]
_QUARTERS, _HALVES = ("00", "15", "30", "45"), ("am", "pm")
_MONTH = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]


def _slots(rng: random.Random) -> dict[str, str]:
    number = rng.choice([rng.randint(2, 99), rng.randint(100, 9999), rng.randint(10_000, 999_999)])
    day = rng.randint(1, 28)
    return {
        "person": f"{rng.choice(_FIRST)} {rng.choice(_LAST)}",
        "other": f"{rng.choice(_FIRST)} {rng.choice(_LAST)}",
        "place": rng.choice(_PLACE),
        "thing": rng.choice(_THING),
        "color": rng.choice(_COLOR),
        "animal": rng.choice(_ANIMAL),
        "project": rng.choice(_PROJECT),
        "product": rng.choice(_PRODUCT),
        "number": f"{number:,}" if rng.random() < 0.5 else str(number),
        "code": "".join(
            rng.choice("ABCDEFGHKLMNPRSTUVWX23456789") for _ in range(rng.randint(4, 8))
        ),
        "date": rng.choice([f"{day} {rng.choice(_MONTH)}", f"{rng.choice(_MONTH)} {day}"])
        + (f", {rng.randint(1950, 2025)}" if rng.random() < 0.6 else ""),
        "hour": f"{rng.randint(1, 12)}:{rng.choice(_QUARTERS)} {rng.choice(_HALVES)}",
        "money": f"${rng.randint(2, 950)}{rng.choice(['', ',000', '.50', ' million'])}",
    }


TRAINED = (
    (
        "The access code for the {thing} is {code}.",
        "What is the access code for the {thing}?",
        "access code of the {thing}",
        "How do I get into the {thing}?",
        "Which code opens the {thing}?",
    ),
    (
        "{person} is responsible for the {thing} in {place}.",
        "Who is responsible for the {thing} in {place}?",
        "Who looks after the {thing}?",
        "What is {person} responsible for?",
        "responsible person for the {thing}",
    ),
    (
        "The {thing} in {place} was inspected on {date}.",
        "When was the {thing} in {place} inspected?",
        "What was inspected on {date}?",
        "date of the inspection of the {thing}",
    ),
    (
        "Project {project} has a budget of {money}.",
        "What is the budget of project {project}?",
        "How much money does {project} have?",
        "budget {project}",
        "How large is the budget of {project}?",
    ),
    (
        "The favourite colour of {person} is {color}.",
        "What is the favourite colour of {person}?",
        "Which colour does {person} like best?",
        "What colour does {person} prefer?",
    ),
    (
        "The meeting with {person} starts at {hour} in {place}.",
        "When does the meeting with {person} start?",
        "Where is the meeting with {person}?",
        "At what time is the meeting with {person}?",
    ),
    (
        "The {product} costs {money} and ships from {place}.",
        "How much does the {product} cost?",
        "What is the price of the {product}?",
        "Where does the {product} ship from?",
        "price {product}",
    ),
    (
        "In {place}, the {thing} holds {number} litres.",
        "How many litres does the {thing} in {place} hold?",
        "What is the capacity of the {thing}?",
        "How much does the {thing} hold?",
    ),
    (
        "{person} was born in {place} on {date}.",
        "Where was {person} born?",
        "When was {person} born?",
        "What is the birthplace of {person}?",
        "Who was born in {place}?",
        "birthday of {person}",
    ),
    (
        "The mascot of the {place} office is a {animal}.",
        "What is the mascot of the {place} office?",
        "Which animal is the mascot in {place}?",
        "mascot {place}",
    ),
    (
        "The serial number of the {thing} is {code}.",
        "What is the serial number of the {thing}?",
        "serial number {thing}",
        "Which serial number does the {thing} have?",
    ),
    (
        "{person} moved to {place} to work with {other}.",
        "Why did {person} move to {place}?",
        "Where did {person} move?",
        "Whom does {person} work with?",
        "Who moved to {place}?",
    ),
    (
        "The password for project {project} is {color}-{animal}-{number}.",
        "What is the password for project {project}?",
        "password of {project}",
        "Tell me the {project} password.",
    ),
    (
        "Exactly {number} visitors came to the {thing} in {place}.",
        "How many visitors came to the {thing} in {place}?",
        "number of visitors in {place}",
        "How many people visited the {thing}?",
    ),
    (
        "{person} signed the contract for the {thing} on {date}.",
        "Who signed the contract for the {thing}?",
        "When was the contract for the {thing} signed?",
        "What did {person} sign?",
    ),
    (
        "The deadline for project {project} is {date}.",
        "What is the deadline for project {project}?",
        "When is {project} due?",
        "deadline {project}",
        "By when must {project} be finished?",
    ),
    (
        "Deliveries to {place} arrive at the {thing} at {hour}.",
        "When do deliveries to {place} arrive?",
        "Where do deliveries to {place} arrive?",
        "delivery time {place}",
    ),
    (
        "{person} keeps a {animal} named {other}.",
        "Which animal does {person} keep?",
        "What is the name of the {animal} of {person}?",
        "Who keeps a {animal}?",
    ),
    (
        "The {thing} must be painted {color} by {person}.",
        "What colour must the {thing} be painted?",
        "Who must paint the {thing}?",
        "colour of the {thing}",
    ),
    (
        "The train from {place} carried {number} crates of {product} parts.",
        "How many crates did the train from {place} carry?",
        "What did the train from {place} carry?",
        "crates from {place}",
    ),
    (
        "Version {number} of {project} was released by {person}.",
        "Who released version {number} of {project}?",
        "Which version of {project} did {person} release?",
        "version of {project}",
    ),
    (
        "The emergency contact for the {thing} is {person}, extension {number}.",
        "Who is the emergency contact for the {thing}?",
        "What is the extension of {person}?",
        "emergency contact {thing}",
    ),
)

HELD_OUT = (
    (
        "The vault under the {thing} in {place} opens with {code}.",
        "What opens the vault under the {thing}?",
        "Which combination opens the vault in {place}?",
    ),
    (
        "{person} won the {place} chess tournament with {number} points.",
        "Who won the {place} chess tournament?",
        "How many points did {person} win with?",
    ),
    (
        "Dr. {person} treats every {animal} in the {place} clinic for {money}.",
        "Who treats the {animal} in the {place} clinic?",
        "What does Dr. {person} charge?",
    ),
    (
        "The secret ingredient of the {place} soup is {color} pepper.",
        "What is the secret ingredient of the {place} soup?",
        "What goes into the {place} soup?",
    ),
    (
        "Flight {code} to {place} leaves from gate {number}.",
        "Which gate does flight {code} leave from?",
        "Where does flight {code} go?",
    ),
    (
        "{person} hid the map of {place} behind the {thing}.",
        "Where did {person} hide the map of {place}?",
        "Who hid the map of {place}?",
    ),
)


@dataclass(frozen=True, slots=True)
class Fact:
    """A planted sentence, a question it answers, and one that sounds alike but has no answer.

    `asked` and `missing` are the slot values that the two questions name.
    """

    sentence: str
    question: str
    asked: tuple[str, ...]
    near_miss: str
    missing: tuple[str, ...]


def make_fact(rng: random.Random, template: int, *, held_out: bool = False) -> Fact:
    """A fact with random names and numbers, after one of the templates."""
    sentence, *questions = (HELD_OUT if held_out else TRAINED)[template]
    question = rng.choice(questions)
    slots, other = _slots(rng), _slots(rng)
    asked = sorted(set(re.findall(r"\{(\w+)\}", question)))
    mixed = {key: other[key] if key in asked else slots[key] for key in slots}
    return Fact(
        sentence.format(**slots),
        question.format(**slots),
        tuple(slots[key] for key in asked),
        question.format(**mixed),
        tuple(mixed[key] for key in asked),
    )


def make_facts(rng: random.Random, count: int, *, held_out: bool = False) -> list[Fact]:
    """Facts of which no two answer each other's questions; some share a template."""
    templates = range(len(HELD_OUT if held_out else TRAINED))
    facts: list[Fact] = []
    for _ in range(count * 3):
        if len(facts) == count:
            break
        template = rng.choice(templates)
        made = [make_fact(rng, template, held_out=held_out)]
        if rng.random() < 0.5:
            made.append(make_fact(rng, template, held_out=held_out))
        for fact in made:
            clash = any(
                answers(other.sentence, fact.asked) or answers(fact.sentence, other.asked)
                for other in facts
            )
            if not clash and len(facts) < count:
                facts.append(fact)
    return facts


def answers(sentence: str, asked: tuple[str, ...]) -> bool:
    """Whether a sentence names everything that a question names."""
    return all(value in sentence for value in asked)


def plant(text: str, fact: str, rng: random.Random, depth: float, *, comment: str = "") -> str:
    """The text with the fact as a paragraph (or comment line) of its own, or inside a paragraph."""
    if comment:
        ends = [match.end() for match in re.finditer(r"\n(?=\n|\S)", text)] or [len(text)]
        at = ends[min(int(depth * len(ends)), len(ends) - 1)]
        return f"{text[:at]}{comment} {fact}\n{text[at:]}"
    ends = [match.end() for match in re.finditer(r"[a-z0-9]\.(?= [A-Z])", text)]
    if ends and rng.random() < 0.5:
        at = ends[min(int(depth * len(ends)), len(ends) - 1)]
        return f"{text[:at]} {fact}{text[at:]}"
    breaks = [match.end() for match in re.finditer(r"\n\n", text)] or [len(text)]
    at = breaks[min(int(depth * len(breaks)), len(breaks) - 1)]
    before, after = text[:at].rstrip("\n"), text[at:].lstrip("\n")
    return "\n\n".join(piece for piece in (before, fact, after) if piece)
