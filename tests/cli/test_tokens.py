"""`jamba tokens`: exact counts, as a tree and as JSON."""

from __future__ import annotations

import io
import json
import re
import shutil

import pytest
from entry_point import ROOT

from jamba_cli import reading
from jamba_cli.output import Output
from jamba_cli.progress import NullReporter, PlainReporter
from jamba_cli.prompts import document_text
from jamba_cli.sources.document import Document, Part, Skipped
from jamba_cli.sources.options import ReadOptions, ReadProgress
from jamba_cli.sources.resolve import read_sources
from jamba_cli.token_count import count_tokens, tree
from runtime.errors import PartialError, UsageError


class Bytes:
    """A tokenizer with a token a byte."""

    def encode_many(self, texts, on_progress=None):
        return [list(text.encode()) for text in texts]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model directory whose tokenizer has a token a byte, and which has no weights."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    directory = tmp_path_factory.mktemp("model")
    shutil.copy(ROOT / "tests" / "golden" / "default" / "config.json", directory)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {character: number for number, character in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(directory / "tokenizer.json"))
    return str(directory)


@pytest.fixture
def project(tmp_path):
    root = tmp_path / "project"
    (root / "src" / "deep").mkdir(parents=True)
    (root / "README.md").write_text("# A project\n\nIt does things.\n")
    (root / "src" / "main.py").write_text("def main():\n    return 1\n" * 40)
    (root / "src" / "deep" / "grüße.py").write_text("x = 'grüße'\n")
    (root / "src" / "deep" / "odd\x1b[31m.py").write_text("y = 2\n")
    (root / "data.bin").write_bytes(b"\x00\x01" * 100)
    return root


DOCUMENT = Document(
    parts=(
        Part("src/a.py", "one\n" * 400),
        Part("src/b.py", "two\n", first_line=7),
        Part("report.pdf", "page one", page=1),
        Part("report.pdf", "page two", page=2, page_label="ii"),
        Part("book.ipynb", "cell", cell=3),
    ),
    outline="src/\n  a.py\n",
)


def test_total_is_the_whole_prompt_text_and_parts_are_their_blocks():
    count = count_tokens(DOCUMENT, Bytes())
    assert count.total == len(document_text(DOCUMENT).encode())
    assert count.total == count.outline + sum(count.parts)
    alone = [len(document_text(Document((part,))).encode()) for part in DOCUMENT.parts[:2]]
    assert list(count.parts[:2]) == alone
    assert count.parts[0] > 1600  # several blocks, each after its reference


def test_equal_parts_are_counted_apart():
    part = Part("a.py", "x\n")
    count = count_tokens(Document((part, Part("a.py", "x\n"))), Bytes())
    assert count.parts == (len("[a.py:1]\nx\n\n"),) * 2


def test_empty_part_has_no_tokens():
    count = count_tokens(Document((Part("a.py", " \n\n"), Part("b.py", "x"))), Bytes())
    assert count.parts[0] == 0
    assert count.total == count.parts[1]


def test_tree_adds_up_by_directory_and_file():
    count = count_tokens(DOCUMENT, Bytes())
    rows = list(tree(count).rows())
    assert [name for _, name in rows] == [
        "(outline)", "src/", "  a.py", "  b.py",
        "report.pdf", "  p. 1", "  p. 2 (ii)", "book.ipynb", "  cell 3",
    ]  # fmt: skip
    tokens = {name.strip(): number for number, name in rows}
    assert tokens["src/"] == tokens["a.py"] + tokens["b.py"]
    assert tokens["report.pdf"] == tokens["p. 1"] + tokens["p. 2 (ii)"]
    assert sum(number for number, name in rows if not name.startswith(" ")) == count.total


def test_command_prints_a_tree(here, project, model):
    done = here("tokens", "-m", model, str(project))
    assert done.returncode == 0
    document = read_sources([str(project)], ReadOptions())
    total = len(document_text(document).encode())
    assert f"\n{total:,} tokens of {model}\n" in done.stdout
    assert re.search(r"% of its context of 4,096 tokens\n$", done.stdout)
    assert re.search(r"^ *[\d,]+ +\d+\.\d% +main\.py$", done.stdout, re.M)
    assert "left out: data.bin: binary" in done.stdout
    assert "grüße.py" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr
    assert r"odd\x1b[31m.py" in done.stdout
    assert re.search(r"^read: 4 files, [\d,]+ characters in ", done.stderr)


def test_command_says_when_windows_are_needed(here, project, model):
    done = here("tokens", "-m", model, str(project), "-q")
    assert done.stderr == ""
    (project / "src" / "long.py").write_text("word = 1\n" * 2000)
    done = here("tokens", "-m", model, str(project))
    assert "times its context of 4,096 tokens; it will be read in windows" in done.stdout


def test_command_as_json(here, project, model):
    done = here("tokens", "-m", model, "--json", "-q", str(project))
    value = json.loads(done.stdout)
    assert set(value) == {
        "schema_version", "command", "model", "total_tokens", "context_tokens", "outline_tokens",
        "sources", "skipped", "warnings",
    }  # fmt: skip
    document = read_sources([str(project)], ReadOptions())
    assert value["total_tokens"] == len(document_text(document).encode())
    assert (value["schema_version"], value["command"]) == (1, "tokens")
    assert (value["model"], value["context_tokens"]) == (model, 4096)
    assert len(value["sources"]) == 4
    assert all(set(source) == {"path", "tokens", "characters"} for source in value["sources"])
    parts = sum(source["tokens"] for source in value["sources"])
    assert parts + value["outline_tokens"] == value["total_tokens"]
    assert value["skipped"] == [{"path": "data.bin", "reason": "binary"}]


def test_command_counts_a_pipe_in_its_own_process(jamba, model):
    done = jamba("tokens", "-m", model, stdin="hello\n")
    assert done.returncode == 0, done.stderr
    expected = len("[stdin:1]\nhello\n\n")
    assert f"{expected} tokens of" in done.stdout


def test_command_writes_to_a_file(here, project, model, tmp_path):
    done = here("tokens", "-m", model, "--json", "-o", "count.json", str(project))
    assert (done.returncode, done.stdout) == (0, "")
    assert json.loads((tmp_path / "count.json").read_text())["command"] == "tokens"


def test_command_imports_no_torch(jamba, project, model):
    code = (
        "import sys; from jamba_cli.app import main;"
        f"code = main(['tokens', '-m', {model!r}, {str(project)!r}]);"
        "sys.exit(code or ('torch' in sys.modules and 'torch was imported'))"
    )
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["/nonexistent.pdf"], 3, "/nonexistent.pdf"),
        (["--strict", "--max-file-size", "500", "PROJECT"], 7, "skipped or damaged"),
        (["-m", "nonsense", "PROJECT"], 6, "no model is called 'nonsense'"),
        (["--max-file-size", "big", "PROJECT"], 2, "'big' is not a number such as"),
        (["--pdf-order", "sideways", "PROJECT"], 2, "'sideways' is not one of"),
    ],
)
def test_command_fails_with_its_code(here, project, model, argv, code, words):
    argv = [argument.replace("PROJECT", str(project)) for argument in argv]
    done = here("tokens", "-m", model, *argv)
    assert done.returncode == code
    assert done.stdout == ""
    assert words in done.stderr


def test_no_source_on_a_terminal_is_a_usage_error(monkeypatch):
    class Terminal(io.StringIO):
        name = "<stdin>"

        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal())
    with pytest.raises(UsageError, match="nothing to read"):
        reading.read_document(None, ReadOptions(), Output(), NullReporter())


def read(monkeypatch, document: Document, *seen: ReadProgress, **options):
    """What reading this document shows on stderr."""

    def fake(sources, read_options, *, on_progress):
        for step in seen:
            on_progress(step)
        return document

    monkeypatch.setattr(reading, "read_sources", fake)
    output = Output(
        stdout=io.StringIO(), stderr=io.StringIO(), verbose=options.pop("verbose", False)
    )
    reading.read_document(["x"], ReadOptions(), output, PlainReporter(output), **options)
    return re.sub(r"\d+\.\d s", "0.0 s", output.stderr.getvalue())


def test_reading_counts_pages_of_one_pdf_and_files_of_many(monkeypatch):
    pages = Document(tuple(Part("a.pdf", "text", page=page) for page in (1, 2, 3)))
    seen = [ReadProgress("a.pdf", 0, 1, done, 3) for done in range(4)]
    assert read(monkeypatch, pages, *seen) == "read: 3 pages, 12 characters in 0.0 s\n"
    files = Document((Part("a.py", "text"), Part("b.py", "text")))
    seen = [ReadProgress("a.py", 0, 2), ReadProgress("b.py", 1, 2)]
    assert read(monkeypatch, files, *seen) == "read: 2 files, 8 characters in 0.0 s\n"


def test_reading_tells_warnings_and_what_was_left_out(monkeypatch):
    skipped = (
        Skipped("a\x1b.bin", "binary"),
        Skipped("b.bin", "binary"),
        Skipped("c", "too large (9 MB)"),
    )
    document = Document((Part("a.py", "text"),), skipped, ("page 3 is scanned",))
    assert read(monkeypatch, document).splitlines()[1:] == [
        "warning: page 3 is scanned",
        "left out: 3 files (2 binary, 1 too large)",
    ]
    assert read(monkeypatch, document, verbose=True).splitlines()[3:] == [
        r"left out: a\x1b.bin: binary",
        "left out: b.bin: binary",
        "left out: c: too large (9 MB)",
    ]
    # What a rule leaves out, such as binaries, is no loss.
    with pytest.raises(PartialError, match="2 things were skipped or damaged"):
        read(monkeypatch, document, strict=True)
