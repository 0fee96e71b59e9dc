"""The benchmark of saving and restoring: its parts are timed, and cold is cold or null."""

from __future__ import annotations

import pytest
import torch

from runtime.contexts import ContextStore
from runtime.engine import Engine
from tests.benchmarks import chat_step, restore_parts, saved_contexts_gpu
from tests.benchmarks.figures import RESTORE, RESTORE_COLD
from tests.benchmarks.missed import missed
from tests.runtime.contexts.reading import read


def test_what_is_measured(engine, tmp_path):
    found = saved_contexts_gpu.measure(engine, 96, tmp_path, repeats=1)
    cold = found["restore_cold_s"], found["raw_read_cold_s"], found["restore_cold_ratio"]
    assert all(value is None for value in cold) or cold[2] == pytest.approx(cold[0] / cold[1])
    times = [value for name, value in found.items() if name.endswith("_s") and "cold" not in name]
    assert min(times) > 0
    assert found["restore_ratio"] == pytest.approx(found["restore_s"] / found["raw_read_s"])


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


def test_a_further_question_of_a_chat_computes_only_itself():
    engine = Engine.load("nano", device="cpu", context=4_096)
    found = chat_step.further_question(engine, 2_048)
    assert 1_000 < found["chat_tokens"] <= 2_048
    assert found["chat_question_s"] > 0
