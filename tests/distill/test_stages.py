"""Every stage of the recipe on a toy student, on the CPU."""

from __future__ import annotations

import json
import lzma
import re
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from runtime import Engine
from runtime.distill import __main__ as command
from runtime.distill import dataset, export, tokens
from runtime.distill.batches import TaskRows, TextRows, copying_batch
from runtime.distill.decode import generate
from runtime.distill.evalset import Item
from runtime.distill.forms import form_of
from runtime.distill.initialize import initial_tensors
from runtime.distill.parallel import World
from runtime.distill.scoring import bullets, loops, plain, rouge, score
from runtime.distill.student import Student, StudentConfig
from runtime.distill.train import Plan, Trainer
from runtime.quoting import AnswerForm
from tests.distill.corpus_texts import texts
from tests.distill.toys import VOCAB, toy_teacher


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    ranks = {bytes([byte]): 3 + byte for byte in range(256)}
    tokens.save(ranks, {"<|endoftext|>": 0, "<|im_start|>": 1, "<|im_end|>": 2}, folder)
    return folder


@pytest.fixture(scope="module")
def data(tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    with lzma.open(folder / "corpus.jsonl.xz", "wt") as file:
        file.writelines(json.dumps(asdict(text)) + "\n" for text in texts())
    dataset.prepare(folder / "corpus.jsonl.xz", tokenizer, folder / "tasks")
    for kind, numbers in {"prose": range(16), "code": range(16, 32)}.items():
        dataset.encode_texts(numbers).tofile(folder / f"text.{kind}.u16")
    dataset.work(dataset.Job(0, {1024: 3}, seed=5))
    return folder


@pytest.fixture(scope="module")
def trainer() -> Trainer:
    plan = Plan(
        align_s=60, distil_s=60, tasks_s=60, tokens=128, text_length=64, max_steps=2, warm_up=1
    )
    config = StudentConfig(layers=3, ff=128, vocab=VOCAB)
    return Trainer(plan, World(), config, toy_teacher(3))


def rows_of_text(data: Path, **shares: float) -> TextRows:
    return TextRows(data, tuple((shares or {"prose": 0.5, "code": 0.5}).items()), 0, 0)


def test_rows_hold_answers_that_end(data: Path, tokenizer: Path) -> None:
    rows = np.load(next((data / "tasks").glob("1024.*.npz")))
    encoding = tokens.read_encoding(tokenizer)
    for ids, weights in zip(rows["ids"], rows["weights"], strict=True):
        answers = "".join(
            encoding.decode([token]) if weight else ""
            for token, weight in zip(ids, weights, strict=True)
        )
        assert answers.endswith("<|im_end|>")
        assert answers.startswith(("- ", "Not found"))


def test_stages_run_and_lower_their_loss(
    trainer: Trainer, data: Path, tmp_path: Path, tokenizer: Path
) -> None:
    text = rows_of_text(data)
    trainer.align(text)
    trainer.distil(text)
    before = {name: value.clone() for name, value in trainer.student.parameters.items()}
    trainer.plan = replace(trainer.plan, tokens=1024, copying_share=0.0, language_every=2)
    trainer.learn_tasks(text, TaskRows(data / "tasks", 0, 0, 1))
    moved = [n for n, v in trainer.student.parameters.items() if not torch.equal(v, before[n])]
    assert len(moved) > 0.9 * len(before)
    assert trainer.student.quantize
    trainer.quantize(False)


def test_the_second_stage_mixes_tasks_in_rounds_late_and_keeps_a_checkpoint(
    trainer: Trainer, data: Path, tmp_path: Path
) -> None:
    plan, trainer.checkpoint = trainer.plan, tmp_path / "running.pt"
    trainer.plan = replace(plan, tokens=1024, tasks_every=2, quantize_from=0.0, save_every_s=0.0)
    trainer.distil(rows_of_text(data), TaskRows(data / "tasks", 0, 0, 1))
    assert trainer.student.quantize
    trainer.plan, trainer.checkpoint = plan, None
    trainer.quantize(False)
    kept = torch.load(tmp_path / "running.pt")
    for name, value in trainer.student.parameters.items():
        torch.testing.assert_close(kept[name], value.detach(), atol=0, rtol=0)
    assert [path.name for path in tmp_path.iterdir()] == ["running.pt"]


@pytest.mark.parametrize("asked", ["ended", "stage_ended"])
def test_a_stage_that_is_asked_to_end_ends(
    trainer: Trainer, data: Path, caplog: pytest.LogCaptureFixture, asked: str
) -> None:
    plan = trainer.plan
    trainer.plan = replace(plan, tokens=64, max_steps=100)
    setattr(trainer.world, asked, True)
    with caplog.at_level("INFO"):
        trainer.distil(rows_of_text(data))
    trainer.plan = plan
    setattr(trainer.world, asked, False)
    (steps,) = re.findall(r"distil done: (\d+) steps", caplog.text)
    assert int(steps) < 20


def test_a_last_stage_rounds_what_was_trained_unrounded(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = partial(StudentConfig, ff=128, vocab=VOCAB)
    monkeypatch.setattr(command, "StudentConfig", toy)
    monkeypatch.setattr(command, "read_gguf", lambda path: SimpleNamespace(tensors=toy_teacher(3)))
    handlers: dict[int, Callable[..., None]] = {}
    monkeypatch.setattr(command.signal, "signal", handlers.__setitem__)
    for name in ("text.done", "tasks.done"):
        (data / name).touch()
    seen: list[tuple[str, bool, bool]] = []
    learn = Trainer._learn

    def watched(trainer: Trainer, stage: str, *rest: object) -> None:
        assert trainer.plan.text_shares == (("prose", 0.6), ("docs", 0.1), ("code", 0.3))
        seen.append((stage, trainer.student.quantize, trainer.world.stage_ended))
        learn(trainer, stage, *rest)  # type: ignore[arg-type]
        handlers[signal.SIGUSR1]()

    monkeypatch.setattr(Trainer, "_learn", watched)
    given = f"train --teacher - --data {data} --out {tmp_path} --layers 3 --tokens 1024 --align-s 0"
    more = "--text-length 64 --max-steps 2 --language-every 2 --text-shares 0.6 0.1 0.3"
    stages = "--distil-s 60 --tasks-s 60 --rounded-s 60"
    monkeypatch.setattr(sys, "argv", ["prog", *f"{given} {more} {stages}".split()])
    command.main()
    assert seen == [("tasks", False, False), ("rounded", True, False)]
    plain, rounded = (torch.load(tmp_path / f"{name}.pt") for name in ("tasks", "rounded"))
    assert any(not torch.equal(plain[name], rounded[name]) for name in plain)
    assert (tmp_path / "distil.pt").exists()


def test_kinds_of_text_come_by_their_shares(data: Path) -> None:
    def places(kind: str, rows: np.ndarray) -> int:
        stored = np.fromfile(data / f"text.{kind}.u16", np.uint16).tobytes()
        return sum(row.astype(np.uint16).tobytes() in stored for row in rows)

    rows = rows_of_text(data, prose=0.75, code=0.25, docs=0.0).rows(200, 64)
    assert places("prose", rows) + places("code", rows) == 200
    assert 120 < places("prose", rows) < 180
    assert places("code", rows_of_text(data, prose=1.0).rows(20, 64)) == 0


def test_export_gives_the_weights_that_quantized_training_saw(
    trainer: Trainer, tmp_path: Path, tokenizer: Path
) -> None:
    student = trainer.student
    student.quantize = True
    student.refresh()
    embedding = toy_teacher(0)["token_embd.weight"]
    export.write_shards(export.shipped_tensors(student.parameters, embedding), tmp_path)
    export.write_configs(trainer.config, tokenizer, tmp_path)
    read = Student(trainer.config, export.read_exported(tmp_path), torch.float32)
    ids = torch.arange(40)[None] + 3
    with torch.no_grad():
        torch.testing.assert_close(read.forward(ids), student.forward(ids), atol=0.02, rtol=0.02)
    student.quantize = False
    student.refresh()


def test_an_unquantized_export_gives_the_weights_before_rounding(
    trainer: Trainer, tmp_path: Path, tokenizer: Path
) -> None:
    embedding = toy_teacher(0)["token_embd.weight"]
    export.write_shards(export.plain_tensors(trainer.student.parameters, embedding), tmp_path)
    export.write_configs(trainer.config, tokenizer, tmp_path, quantized=False)
    read = export.read_exported(tmp_path)
    for name, value in trainer.student.parameters.items():
        torch.testing.assert_close(read[name], value.detach(), atol=0, rtol=2**-8)
    ids = torch.arange(40) + 3
    with torch.no_grad():
        trained = trainer.student.forward(ids[None]) @ trainer.student.embedding.t()
    scored = Engine.load(tmp_path, device="cpu").score(ids.tolist()).float()
    assert (scored - trained).norm() < 0.05 * trained.norm()


def test_training_goes_on_from_exported_weights(
    trainer: Trainer, tmp_path: Path, tokenizer: Path
) -> None:
    fresh = Trainer(trainer.plan, World(), trainer.config, toy_teacher(3))
    ids = torch.arange(40)[None] + 3
    embedding = toy_teacher(0)["token_embd.weight"]
    export.write_shards(export.shipped_tensors(trainer.student.parameters, embedding), tmp_path)
    fresh.load(export.read_weights(tmp_path))
    with torch.no_grad():
        resumed, trained = fresh.student.forward(ids), trainer.student.forward(ids)
        trainer.quantize(True)
        rounded = trainer.student.forward(ids)
        trainer.quantize(False)
    torch.testing.assert_close(resumed, rounded, atol=0.02, rtol=0.02)
    for name, value in trainer.student.parameters.items():
        # Half of the widest gap between two of NF4's codes is 0.152 of the block's largest weight.
        allowed = 0.153 * value.abs().max() if form_of(name) is not None else 0.004 * value.abs()
        assert bool(((fresh.student.parameters[name] - value).abs() <= allowed).all()), name
    trainer.save(tmp_path / "checkpoint.pt")
    fresh.load(export.read_weights(tmp_path / "checkpoint.pt"))
    with torch.no_grad():
        torch.testing.assert_close(fresh.student.forward(ids), trained)


def test_decoding_step_by_step_equals_the_full_pass() -> None:
    config = StudentConfig(layers=3, ff=128, vocab=VOCAB)
    student = Student(config, initial_tensors(config, toy_teacher(3)), torch.float32)
    prompts = [list(range(10, 40)), list(range(60, 67)), [9, 8]]
    for prompt, answer in zip(prompts, generate(student, prompts, 6, stop=2), strict=True):
        made: list[int] = []
        for _ in range(6):
            with torch.no_grad():
                hidden = student.forward(torch.tensor([prompt + made]))
            token = int((hidden[-1] @ student.embedding.t()).argmax())
            if token == 2:
                break
            made.append(token)
        assert made == answer


def test_copying_rows_repeat_what_came_before(data: Path) -> None:
    batch = copying_batch(rows_of_text(data), 2, 256)
    first = batch.ids[0, :128].tolist()
    place = int(batch.weights[0].nonzero()[0])
    piece = batch.ids[0, place : place + 10].tolist()
    assert any(first[i : i + 10] == piece for i in range(119))


def test_scoring() -> None:
    assert bullets("- One two. [p. 3]\nplain") == [("One two.", "[p. 3]"), ("plain", "")]
    assert loops("- the same words again [p. 1]\n" * 6, 60, 100)
    assert loops("- one that never ends [p. 1]", 100, 100)
    assert not loops("- one two three four five [p. 1]\n- six seven eight nine ten [p. 1]", 30, 100)
    assert plain("// Reads it.") == plain('"""Reads it."""') == "Reads it."
    assert rouge("a b c", "a b c") == (1.0, 1.0, 1.0)
    assert rouge("a b c", "d e f") == (0.0, 0.0, 0.0)


def test_a_quote_over_two_blocks_stands_where_it_begins() -> None:
    blocks = [("[p. 1]", "One two. Three"), ("[p. 2]", "four. Five six.")]
    form = AnswerForm([], most=1)
    item = Item("ask", "", [], blocks, ["Three four."], 0, form)
    answers = ["- Three four. [p. 1]", "- Three four. [p. 2]", "- Three five. [p. 1]"]
    table = score([item] * 3, answers, [[0]] * 3, 9)
    assert table["verbatim"] == (2 / 3, 3)
    assert table["reference right"] == (1 / 2, 2)
