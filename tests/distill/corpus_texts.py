"""A small corpus written here, so that the tests need no downloads."""

from __future__ import annotations

from runtime.distill.corpus import Text

_SUBJECTS = [
    "harbour",
    "observatory",
    "mill",
    "archive",
    "orchard",
    "lighthouse",
    "foundry",
    "canal",
]
_YEARS = [1851, 1874, 1902, 1923, 1938, 1956, 1971, 1989]


def _page(index: int) -> str:
    subject, year = _SUBJECTS[index % 8], _YEARS[(index * 3) % 8] + index // 8
    paragraphs = [f"# The {subject} of district {index}"]
    for number in range(6):
        paragraphs.append(
            f"The {subject} number {number} in district {index} is a place that many people visit "
            f"because it was restored with care. It was opened in {year + number} by "
            f"Anna Keller and contains {number + 3} large halls for the public. "
            f"In {year + number + 7}, the council of district {index} adopted a plan for repairs. "
            f"To reach the {subject} by boat, visitors take the ferry from pier {number + 10}. "
            f"Each season the keepers count the {subject} guests and write a report about them."
        )
    return "\n\n".join(paragraphs)


def _module(index: int) -> str:
    name = _SUBJECTS[index % 8]
    lines = [
        f'"""Keeps the books of the {name} and its visitors."""',
        "",
        f"LIMIT_{index} = {index}",
    ]
    for number in range(8):
        lines += [
            "",
            "",
            f"def {name}_{index}_{number}(count: int) -> int:",
            f'    """Count the tickets of the {name} sold on day {number}."""',
            f"    total = count + {number}",
            "    return total",
        ]
    return "\n".join(lines) + "\n"


def texts() -> list[Text]:
    """Sixteen pages of prose and sixteen modules of two packages."""
    prose = [Text("pages", "prose", f"pages/{i}.html", _page(i)) for i in range(16)]
    code = [
        Text(f"package{i % 2}", "code", f"package{i % 2}/module_{i}.py", _module(i))
        for i in range(16)
    ]
    return prose + code
