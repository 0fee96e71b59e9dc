"""The evaluation's entry points on a toy model: many processes answer as one does."""

from __future__ import annotations

import json
import lzma
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from runtime.distill import evaluate, export, table
from runtime.distill.answering import read_answers
from runtime.distill.dataset import Encoder
from runtime.distill.evalset import Item
from runtime.distill.initialize import initial_tensors
from runtime.distill.layout import Layout
from runtime.distill.student import StudentConfig
from runtime.distill.tokens import read_encoding, save
from tests.distill.toys import VOCAB, toy_teacher

PAGES = (
    "The mill was opened in 1902 by Anna Keller.\n",
    "The canal is closed in winter. Boats wait at pier 12.\n",
    "An archive keeps the letters of the council.\n",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy model in `toy`, its tokenizer in `tok`, and a prompt a page in `items.json.xz`."""
    folder = tmp_path_factory.mktemp("evaluation")
    ranks = {bytes([byte]): 3 + byte for byte in range(256)}
    save(ranks, {"<|endoftext|>": 0, "<|im_start|>": 1, "<|im_end|>": 2}, folder / "tok")
    config = StudentConfig(layers=3, ff=128, vocab=VOCAB)
    tensors = initial_tensors(config, toy_teacher(3))
    embedding = tensors.pop(export.EMBEDDING)
    (folder / "toy").mkdir()
    export.write_shards(export.shipped_tensors(tensors, embedding), folder / "toy")
    export.write_configs(config, folder / "tok", folder / "toy")

    layout, encoder = Layout(), Encoder(read_encoding(folder / "tok"))
    items = []
    for text in PAGES:
        document = layout.document([layout.part(path="a.pdf", text=text, page=1)])
        task = layout.summary_task("short")
        ids = encoder.opening(layout.prefix(document), task)
        form = layout.form(document, task)
        expected = [text.split(".")[0] + "."]
        items.append(Item("summary", task, ids, [("[p. 1]", text)], expected, len(ids), form))
    with lzma.open(folder / "items.json.xz", "wt") as file:
        json.dump([asdict(item) for item in items], file)
    return folder


def run(module: object, monkeypatch: pytest.MonkeyPatch, *args: object) -> None:
    monkeypatch.setattr(sys, "argv", ["prog", *map(str, args)])
    module.main()  # type: ignore[attr-defined]


def test_many_processes_answer_as_one_does(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = ("--items", folder / "items.json.xz", "--tokenizer", folder / "tok", "--out", folder)
    for name, workers in (("one", 1), ("two", 2)):
        more = ("--teacher", "-", "--name", name, "--workers", workers, "--device", "cpu")
        run(evaluate, monkeypatch, folder / "toy", *given, *more, "--ways", "guided")
    one, two = (
        read_answers(sorted(folder.glob(f"{name}.*.answers.jsonl"))) for name in ("one", "two")
    )
    assert one == two
    assert sorted(one["guided"]) == [0, 1, 2]

    run(table, monkeypatch, "one", "two", "--folder", folder, *given[:-1], folder / "tables")
    (row,) = [
        line for line in (folder / "tables.md").read_text().splitlines() if "verbatim" in line
    ]
    assert row.startswith("| quotes verbatim in the document | 100 % | 100 % |")
    scores = json.loads((folder / "tables.json").read_text())["scores"]
    assert scores["one guided"] == scores["two guided"]


def test_a_table_counts_only_what_all_runs_answered(folder: Path) -> None:
    encode = read_encoding(folder / "tok").encode_ordinary
    right = encode("- The mill was opened in 1902 by Anna Keller. [p. 1]")
    wrong = encode("- Nothing of that. [p. 1]")
    runs = {
        "a": {"free": {0: right, 1: wrong, 2: wrong}},
        "b": {"free": {0: wrong, 2: wrong}},
    }
    items = table.evalset.read(folder / "items.json.xz")
    scores = table.shared_scores(items, runs, folder / "tok")
    assert scores["a free"]["verbatim"] == (1 / 2, 2)
    assert scores["b free"]["verbatim"] == (0.0, 2)
    assert "| 50 % | 0 % | 2 | >= 95 % |" in table.main_table(scores)[2]
