"""The benchmark of saving and restoring: what is timed is what its names say."""

from __future__ import annotations

import pytest
import torch

from jamba_cli.reader import Reader
from runtime.contexts import ContextStore
from runtime.engine import Engine
from tests.benchmarks import chat_step, restore_parts, saved_contexts_gpu
from tests.benchmarks.figures import RESTORE, RESTORE_COLD
from tests.benchmarks.missed import missed
from tests.benchmarks.saved_contexts import Times
from tests.runtime.contexts.reading import read
from tests.tiny_model import write_model


def test_what_is_measured(engine, tmp_path):
    found = saved_contexts_gpu.measure(engine, 96, tmp_path, repeats=1)
    cold = found["restore_cold_s"], found["raw_read_cold_s"], found["restore_cold_ratio"]
    assert all(value is None for value in cold) or cold[2] == pytest.approx(cold[0] / cold[1])
    times = [value for name, value in found.items() if name.endswith("_s") and "cold" not in name]
    assert min(times) > 0
    assert found["restore_ratio"] == pytest.approx(found["restore_s"] / found["raw_read_s"])


class ScriptedBench:
    """Takes as long as it is told; knows in which order it was asked."""

    def __init__(self, plain, saving):
        self.seconds = {"plain": plain, "saved": saving}
        self.asked = []
        self.waited_s = 0.25

    def take(self, step):
        self.asked.append(step)
        wall = self.seconds[step].pop(0)
        return Times(wall, wall, wall)

    def plain(self):
        return self.take("plain")

    def saved(self, store, *, reused):
        assert reused == 0
        assert not store.root.exists() or not list(store.contexts())
        return self.take("saved")


def test_saving_and_not_saving_take_turns_and_the_first_of_each_does_not_count(tmp_path):
    bench = ScriptedBench([90.0, 2.0, 4.0, 3.0], [80.0, 9.0, 2.5, 3.3])
    found = saved_contexts_gpu.saving_cost(bench, tmp_path, 3)
    assert bench.asked == ["plain", "saved"] * 4
    assert (found["read_least_s"], found["read_s"], found["read_most_s"]) == (2, 3, 4)
    assert found["saving_percent"] == pytest.approx(10)
    assert found["saving_least_percent"] == pytest.approx(25)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("tokens", "given", "repeats"), [(96, None, 8), (96, 1, 1)])
def test_short_documents_are_read_more_often_unless_told(
    engine, tmp_path, monkeypatch, tokens, given, repeats
):
    counted = []
    for name in ("saving_cost", "restoring"):
        monkeypatch.setattr(
            saved_contexts_gpu, name, lambda _bench, _folder, number: counted.append(number) or {}
        )
    found = saved_contexts_gpu.measure(engine, tokens, tmp_path, given)
    assert counted == [repeats, repeats]
    assert found == {"tokens": tokens, "repeats": repeats}


def test_questions_in_a_chat_are_timed_on_a_document_that_is_read_once(tmp_path, monkeypatch):
    reader = Reader(str(write_model(tmp_path / "tiny", context=4_000)))
    engine = Engine.load(reader.directory, device="cpu")
    read_tokens, prefill = [], engine.prefill
    monkeypatch.setattr(
        engine,
        "prefill",
        lambda ids, *a, **o: read_tokens.append(len(ids)) or prefill(ids, *a, **o),
    )
    found = chat_step.chat_step(engine, reader, 3_000, tmp_path / "contexts")
    document = found["chat_document_tokens"]
    assert 0.9 * (3_000 - chat_step.ROOM_TOKENS) < document <= 3_000 - chat_step.ROOM_TOKENS
    assert [each for each in read_tokens if each >= document] == [document]
    assert 0 < found["chat_question_tokens"] < chat_step.ROOM_TOKENS
    assert 0 < found["chat_second_question_s"] <= found["chat_slowest_question_s"]
    assert found["chat_first_question_s"] > 0
    assert not (tmp_path / "contexts").exists()


def test_the_clock_of_a_question_runs_from_its_line_to_the_first_text(monkeypatch):
    now = iter([1.0, 3.0, 10.0, 14.0])
    monkeypatch.setattr(chat_step.time, "perf_counter", lambda: next(now))
    watch = chat_step.Stopwatch()
    asked, shown = chat_step.Asked(("one", "two"), watch), chat_step.Shown(watch)
    shown.write("before any question")
    for _ in range(2):
        asked.readline()
        shown.write("a")
        shown.write("b")
    assert asked.readline() == ""
    shown.write("after the end")
    assert watch.seconds == [2.0, 4.0]


def test_a_file_system_that_keeps_files_gives_no_cold_figure(engine, tmp_path, monkeypatch):
    monkeypatch.setattr(restore_parts, "cached_share", lambda _: 0.5)
    found = saved_contexts_gpu.measure(engine, 96, tmp_path, repeats=1)
    assert found["restore_cold_s"] is found["raw_read_cold_s"] is None
    assert found["restore_cold_ratio"] is None
    results = {"contexts": found | {"restore_ratio": 2.0}}
    assert RESTORE.verdict(results)[1] == "no"
    with pytest.raises(TypeError):
        RESTORE_COLD.verdict(results)
    (words, *_) = missed(results)
    assert "SHA-256 of these bytes takes" in words
    assert "dropped" not in words
    found |= {"restore_cold_s": 3.0, "raw_read_cold_s": 2.0, "restore_cold_ratio": 1.5}
    (words, *others) = missed({"contexts": found})
    assert "restoring takes 3.000 s, the raw read 2.000 s" in words
    assert not any("cold" in other for other in others)


def test_files_that_were_just_read_are_in_the_page_cache(tmp_path):
    files = [tmp_path / name for name in "ab"]
    for file in files:
        file.write_bytes(bytes(300_001))
    assert restore_parts.cached_share(files) == 1
    if restore_parts.made_cold(files):
        assert restore_parts.cached_share(files) <= restore_parts.COLD_SHARE
        restore_parts.raw_read_s(files)
        assert restore_parts.cached_share(files) == 1


def test_the_bytes_of_a_restore(engine, ids, tmp_path):
    store = ContextStore(tmp_path / "contexts")
    read(engine, ids, store)
    (context,) = store.contexts()
    sizes = restore_parts.checked_nbytes(context)
    rows = sum(each.state_offset for each in context.segments)
    last = context.segments[-1]
    assert sum(sizes) == rows + last.nbytes - last.state_offset
    cache = engine.new_cache(len(ids))
    assert restore_parts.copy_only_s(cache, context, torch.device("cpu")) > 0
