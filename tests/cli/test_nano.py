"""The embedded model through the real command: what it says is in the document, and true of it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from runtime.models import ASSETS

REPORT = Path(__file__).parents[2] / "docs" / "reading-long-documents.pdf"

LETTERS = """\
The harbour office keeps the log of every ship that enters the bay.
Repairs of the north pier began in spring and were paid from the reserve.
{fact}
The council meets on the first Monday of each month in the old customs house.
Complaints about noise are answered within ten working days.
Fishing permits are renewed at the counter on the ground floor.
"""
FACT = "The vault under the lighthouse opens with the code 7F3K9Q."


def ask(here, path: Path, question: str) -> dict:
    done = here("ask", str(path), question, "--json", "-q")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def letters(tmp_path):
    path = tmp_path / "letters.txt"
    path.write_text(LETTERS.format(fact=FACT))
    return path


def test_a_planted_fact_is_found_and_quoted_where_it_stands(here, letters):
    result = ask(here, letters, "Which code opens the vault under the lighthouse?")
    assert [(r["quote"], r["status"], r["found_at"]) for r in result["references"]] == [
        (FACT, "quoted", "letters.txt:3")
    ]


@pytest.mark.parametrize(
    "question",
    [
        "Which code opens the vault under the lighthouse?",
        "Who won the World Cup in 1998?",
        "Where is parse_header defined?",
        "How many engines does the rescue boat have?",
    ],
)
def test_what_is_not_in_the_document_is_not_found(here, tmp_path, question):
    path = tmp_path / "letters.txt"
    path.write_text(LETTERS.format(fact="The lighthouse is painted every second year."))
    result = ask(here, path, question)
    assert not result["found"]
    assert result["answer"] == "Not found in the document."
    assert result["references"] == []


def test_a_definition_is_found_in_code(here, tmp_path):
    path = tmp_path / "ships.py"
    path.write_text(
        "import json\n\n\n"
        "def load_ships(path):\n"
        '    """Read the ships of a harbour from a JSON file."""\n'
        "    with open(path) as file:\n"
        "        return json.load(file)\n\n\n"
        "def count_masts(ship):\n"
        '    """Return the number of masts of a ship."""\n'
        '    return len(ship["masts"])\n'
    )
    result = ask(here, path, "Where is count_masts defined?")
    assert "def count_masts(ship):" in result["answer"]
    assert result["references"][0]["found_at"] == "ships.py:10"


def test_a_definition_is_quoted_from_the_beginning_of_its_line(here, tmp_path):
    path = tmp_path / "input.rs"
    path.write_text(
        "/// Where a search begins.\npub struct Place {\n    pos: usize,\n}\n\n"
        "impl Place {\n    /// Whether this is the end.\n    pub fn is_end(&self) -> bool {\n"
        "        self.pos == 0\n    }\n\n    fn is_empty(&self) -> bool {\n"
        "        false\n    }\n}\n"
    )
    result = ask(here, path, "Where is is_end defined?")
    quotes = {r["quote"]: r["found_at"] for r in result["references"]}
    assert quotes["pub fn is_end(&self) -> bool {"] == "input.rs:8"


def test_brackets_in_the_text_are_no_references(here, tmp_path):
    fact = "The vault under the lighthouse [letters.txt:1] opens with the code 7F3K9Q [p. 3]."
    path = tmp_path / "letters.txt"
    path.write_text(LETTERS.format(fact=fact))
    result = ask(here, path, "Which code opens the vault under the lighthouse?")
    assert (fact, "quoted", "letters.txt:3") in [
        (r["quote"], r["status"], r["found_at"]) for r in result["references"]
    ]


@pytest.mark.parametrize("temperature", ["0", "1.5"])
def test_a_real_pdf_is_summarized_in_quotes_that_are_true(here, temperature):
    done = here(
        *("summarize", str(REPORT), "--pages", "1", "--length", "short", "--json", "-q"),
        *("--temperature", temperature, "--seed", "4"),
    )
    result = json.loads(done.stdout)
    references = result["references"]
    assert 1 <= len(references) <= 3
    assert len({r["quote"] for r in references}) == len(references)
    assert {r["status"] for r in references} == {"quoted"}
    assert result["answer"].count("\n") == len(references) - 1
    assert result["complete"]


def test_a_fact_is_found_through_windows(here):
    done = here(
        *("ask", str(REPORT), "How large is the context of the model?", "--pages", "1-2"),
        *("--json", "-q", "--context", "1200"),
    )
    result = json.loads(done.stdout)
    assert result["windows"] > 1
    assert result["found"]
    assert {r["status"] for r in result["references"]} == {"quoted"}


def test_what_it_is_is_said_once_and_not_when_quiet(here, letters):
    question = "Which code opens the vault under the lighthouse?"
    told = here("ask", str(letters), question).stderr
    (line,) = [line for line in told.splitlines() if "answers with quotes" in line]
    assert "for answers in prose: jamba models pull jamba2-3b" in line
    assert "answers with quotes" not in here("ask", str(letters), question, "-q").stderr


def test_windows_are_merged_into_quotes_that_are_true(here):
    done = here(
        *("summarize", str(REPORT), "--pages", "1", "--length", "40", "--json", "-q"),
        *("--context", "1000"),
    )
    result = json.loads(done.stdout)
    assert result["windows"] > 1
    assert 1 <= len(result["references"]) <= 2
    assert {r["status"] for r in result["references"]} == {"quoted"}


def test_the_model_is_whole_small_and_says_where_it_comes_from():
    folder = ASSETS / "nano"
    files = [path for path in folder.iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 100_000_000
    assert all(path.stat().st_size < 50_000_000 for path in files)
    assert "SmolLM2-135M-Instruct" in (folder / "NOTICE").read_text()
    for line in (folder / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split()
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
