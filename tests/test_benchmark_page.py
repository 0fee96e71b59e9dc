"""The benchmark session: failures are recorded, what is missing is said, what is slow is no yes."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from xml.dom import minidom

import pytest

from tests.benchmarks import gpu_session, session_group
from tests.benchmarks.figures import FIGURES, decode_rate, peak_gb, prefill_s
from tests.benchmarks.missed import missed
from tests.benchmarks.session_plan import ON_DEMAND, groups
from tests.benchmarks.write_benchmarks import page, plot, read

ROOT = Path(__file__).parents[1]
MACHINE = {"key": "machine", "date": "2026-01-01", "card": "a card", "command": "a command"}


@pytest.fixture
def results(tmp_path):
    part = {"part": "moe", "seconds": 0.5, "floor_s": 0.25, "bound_by": "products"}
    chunk = {"past_tokens": 10, "new_tokens": 4, "step_s": 0.6, "floor_s": 0.25, "rest_s": 0.1,
             "launches": 7, "parts": [part]}  # fmt: skip
    parts = [
        {"part": "moe", "seconds": 0.005, "floor_s": 0.004, "bound_by": "bandwidth"},
        {"part": "attention", "seconds": 0.003, "floor_s": 0.002, "bound_by": "bandwidth"},
        {"part": "norms", "seconds": 0.0005, "floor_s": 0.0, "bound_by": "bandwidth"},
    ]
    step = {"past_tokens": 262_144, "new_tokens": 1, "step_s": 0.008, "floor_s": 0.006,
            "rest_s": -0.0005, "launches": 9, "parts": parts}  # fmt: skip
    lines = [
        MACHINE,
        {"key": "fp8:prefill:262144", "error": "an earlier failure"},
        {"key": "fp8:prefill:262144", "tokens": 262_144, "seconds": [11.0, 11.5, 30.0]},
        {"key": "fp8:decode:262144", "steps": 64, "seconds": [0.64]},
        {"key": "fp8:prefill:8192", "tokens": 8_192, "seconds": [0.4]},
        {"key": "fp8:memory:262144", "tokens": 262_144, "planned_bytes": 63_000_000_000,
         "device_peak_bytes": 60_000_000_000, "device_reserved_bytes": 62_000_000_000},
        {"key": "fp8:decode:8192", "steps": 64, "seconds": [0.64]},
        {"key": "fp8:profile:chunk:262144", **chunk},
        {"key": "fp8:profile:step:262144", **step},
        {"key": "peer", "ours_s": 2.5, "scan_calls": 0, "their_error": "Too much. Really. No."},
        {"key": "nf4:read:8192", "skipped": "not run: 3 s were left"},
        {"key": "int8:prefill:8192", "error": "OutOfMemoryError: too much\nmore"},
    ]  # fmt: skip
    file = tmp_path / "results.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def test_the_page(results):
    text = page(*read([results]))
    assert "| prefill 262,144 tokens, fp8 | <= 12 s | 11.5 s | yes | vLLM 0.24 fp8 15.6 s |" in text
    assert "| prefill 8,192 tokens, fp8 | <= 0.3 s | 0.4 s | no |" in text
    assert "| decode at 256k, fp8 | >= 150 tok/s | 100 tok/s | no |" in text
    assert text.count("not measured |") == len(FIGURES) - 6
    assert "| fp8 | 262,144 | 63.0 | 60.0 | 62.0 | +5.0 % |" in text
    assert "| moe | 500.00 | 83 % | 250.00 | 50 % | products |" in text
    assert "| `int8:prefill:8192` | OutOfMemoryError: too much |" in text
    assert "an earlier failure" not in text
    assert "its own: Too much. Really |" in text


def test_parts_that_add_up_to_more_than_a_step_leave_no_gap(results):
    text = page(*read([results]))
    assert "| launch gaps, rest | 100.00 | 17 % |" in text
    assert "| launch gaps, rest | 0.00 | 0 % |" in text
    assert "can add up to more than the step" in text


def test_what_is_missed_stands_beside_its_floor(results):
    found = read([results])[0]
    text = "\n".join(missed(found))
    assert "| decode at 256k, fp8 | 10.00 | 6.67 | 6.00 | parts |" in text
    assert "| decode at 8k, fp8 | 10.00 | 5.00 | 4.06 | parts |" in text  # fewer keys
    assert "|  | moe | attention | norms | in products with weights |" in text
    assert "| fp8 | 1.00 | 1.00 | 0.50 | 1.00 of 2.50 |" in text
    assert "Also missed: prefill 8,192 tokens, fp8; prefill 131,072 tokens, 8 layers" in text
    found["fp8:decode:262144"]["seconds"] = found["fp8:decode:8192"]["seconds"] = [0.1]
    assert "ms a token" not in "\n".join(missed(found))


def test_the_page_in_the_documentation_is_what_was_recorded():
    found, failed = read([ROOT / "docs" / "benchmarks.jsonl"])
    assert (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8") == page(found, failed)
    assert (ROOT / "docs" / "benchmarks.svg").read_text(encoding="utf-8") == plot(found)


def test_figures_of_two_cards_are_not_mixed(results, tmp_path):
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps(MACHINE | {"card": "another card"}))
    with pytest.raises(SystemExit, match="a card, another card"):
        read([results, other])
    other.write_text(json.dumps(MACHINE | {"command": "one more"}))
    assert read([results, other])[0]["machine"]["command"] == "a command\none more"


def test_what_stood_in_for_a_package_is_said(results):
    found, failed = read([results])
    assert "this project's kernel" not in page(found, failed)
    stands_in = {"conv_stands_in": True, "scan_stands_in": True, "scan_calls": 28}
    found["peer"] = {"ours_s": 2.5, "theirs_s": 5.0, "ratio": 0.5} | stands_in
    text = page(found, failed)
    assert "called 28 times" in text
    assert "this project's kernel, as causal-conv1d was not there" in text


def test_the_plot_is_an_image(results):
    chart = minidom.parseString(plot(read([results])[0]))
    assert len(chart.getElementsByTagName("circle")) == 2 + 2 + 3 + 2


def test_the_readme_says_what_was_recorded():
    found, _ = read([ROOT / "docs" / "benchmarks.jsonl"])
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert found["machine"]["date"] in text
    for scheme in ("fp8", "int8", "nf4"):
        short, long = (decode_rate(scheme, tokens)(found) for tokens in (8_192, 262_144))
        seconds, peak = prefill_s(scheme, 262_144)(found), peak_gb(scheme, 262_144)(found)
        assert (
            f"| `{scheme}` | {seconds:.1f} s | {short:.0f} / {long:.0f} tokens/s | {peak:.1f} GB |"
        ) in text


def test_a_failure_is_recorded_and_goes_no_further(tmp_path):
    def fail():
        raise RuntimeError("CUDA out of memory")

    file = tmp_path / "results.jsonl"
    assert not session_group.attempt(file, "a", fail)
    assert session_group.attempt(file, "b", lambda: {"seconds": [1.0]})
    first, second = map(json.loads, file.read_text().splitlines())
    assert first["error"] == "RuntimeError: CUDA out of memory"
    assert second["seconds"] == [1.0]


def test_what_is_run():
    def wanted(*only):
        return [g.name for g in groups() if gpu_session.is_wanted(g, list(only))]

    assert wanted() == ["fp8", "int8", "nf4", "3b", "peer"]
    assert wanted("start", "fp8:read") == ["fp8", "start"]
    assert set(ON_DEMAND) <= {g.name for g in groups()}
    (fp8,) = (g for g in groups() if g.name == "fp8")
    assert [t.tokens for t in session_group.chosen(fp8, ["fp8:read:8192"])] == [8_192]
    assert len(list(session_group.chosen(fp8, []))) == 6
    assert sum(g.must_s for g in groups() if g.name not in ON_DEMAND) < 420


def test_an_extension_without_its_package_is_named(tmp_path, monkeypatch):
    if gpu_session.version("mamba-ssm") != gpu_session.MISSING:
        pytest.skip("mamba-ssm is installed")
    assert gpu_session.machine("cpu")["mamba-ssm"] == "missing"
    (tmp_path / "selective_scan_cuda.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    found = gpu_session.machine("cpu")["mamba-ssm"]
    assert found == "selective_scan_cuda without the package"


def test_a_script_that_fails_is_a_line(tmp_path):
    options = argparse.Namespace(
        results=tmp_path / "results.jsonl", device="cpu", shape="none", lengths=[8]
    )
    (peer,) = (g for g in groups() if g.name == "peer")
    gpu_session.run_script(peer, options, 60)
    (line,) = map(json.loads, options.results.read_text().splitlines())
    assert line["key"] == "peer"
    assert "KeyError" in line["error"]
