"""Windows of one run, and those of a name, never make room for one another.

Through the real entry point, with a tiny model of random weights whose tokens are bytes.
"""

from __future__ import annotations

import json
import os
import shutil

import pytest

from jamba_cli.contexts import ingesting
from tests.tiny_model import write_model

ENOUGH = "2000k"
"""A quota for all three windows and little else."""


@pytest.fixture
def long(tmp_path):
    """A document of three windows, of 650, 490 and 490 kB when they are saved."""
    path = tmp_path / "long.txt"
    path.write_text("".join(f"Line {n} says so.\n" for n in range(600)))
    return path


@pytest.fixture
def ask(here, model):
    def run(*argv: str, **environ: str):
        done = here("ask", *argv, "what?", "-m", model, "--max-tokens", "5", "--json", **environ)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def listed(here) -> dict[str, dict]:
    found = json.loads(here("contexts", "--json").stdout)["contexts"]
    return {context["id"]: context for context in found}


def names(here) -> dict[str, list[str]]:
    return json.loads(here("contexts", "--json").stdout)["names"]


def test_ingest_says_that_the_windows_do_not_fit_before_it_reads_them(here, model, long):
    done = here("ingest", "long.txt", "--name", "L", "-m", model, JAMBA_CONTEXT_QUOTA="1300k")
    assert done.returncode == 1
    assert "prefill" not in done.stderr
    error, hint = done.stderr.splitlines()[-2:]
    assert error == (
        "error: saving this takes 1.7 MB in 3 windows, more than the quota for saved contexts, "
        "1.3 MB"
    )
    assert "JAMBA_CONTEXT_QUOTA=2M" in hint
    assert names(here) == {}
    assert listed(here) == {}
    done = here("ingest", "long.txt", "--name", "L", "-m", model, JAMBA_CONTEXT_QUOTA="2M")
    assert done.returncode == 0, done.stderr
    assert sorted(names(here)["L"]) == sorted(listed(here))
    exact = sum(context["bytes"] for context in listed(here).values())
    for quota, code in ((exact - 1, 1), (exact, 0)):  # what it said is what it takes, to the byte
        here("contexts", "rm", "--all")
        done = here("ingest", "long.txt", "-m", model, JAMBA_CONTEXT_QUOTA=str(quota))
        assert done.returncode == code, done.stderr
        assert ("prefill" in done.stderr) != bool(code)


def test_what_is_whole_already_is_named_under_any_quota(here, model, long):
    here("ingest", "long.txt", "-m", model)
    done = here("ingest", "long.txt", "--name", "L", "-m", model, JAMBA_CONTEXT_QUOTA="1300k")
    assert done.returncode == 0, done.stderr
    assert len(names(here)["L"]) == len(listed(here)) == 3


def test_one_prompt_over_the_quota_is_said_before_it_is_read(here, model, tmp_path):
    (tmp_path / "notes.txt").write_text("What it says. " * 200)
    done = here("ingest", "notes.txt", "-m", model, JAMBA_CONTEXT_QUOTA="100k")
    assert done.returncode == 1
    assert "prefill" not in done.stderr
    assert "takes 4" in done.stderr
    assert " windows" not in done.stderr


def test_the_windows_of_an_ingest_push_out_others_and_not_each_other(
    here, ask, model, long, tmp_path
):
    (tmp_path / "other.txt").write_text("Another text. " * 200)
    assert here("ingest", "other.txt", "--name", "o", "-m", model).returncode == 0
    [other] = listed(here)
    tight = {"JAMBA_CONTEXT_QUOTA": ENOUGH}
    assert here("ingest", "long.txt", "--name", "L", "-m", model, **tight).returncode == 0
    assert other not in listed(here)
    assert sorted(names(here)["L"]) == sorted(listed(here))
    assert ask("@L", **tight)["context"]["ids"] == names(here)["L"]


@pytest.mark.parametrize("command", ["ask", "summarize", "ingest", "chat"])
def test_what_goes_for_the_quota_is_said_in_one_line(jamba, here, model, tmp_path, command):
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text(f"Text {name}. " * 200)
    (tmp_path / "new.txt").write_text("A third text. " * 200)
    here("ingest", "a.txt", "--name", "a", "-m", model)
    here("ingest", "b.txt", "-m", model)
    before = listed(here)
    freed = sum(one["bytes"] for one in before.values())
    [bare] = [one for one, context in before.items() if not context["names"]]
    question = {"ask": ["what?"]}.get(command, [])
    short = [] if command == "ingest" else ["--max-tokens", "3"]
    quota = {"JAMBA_CONTEXT_QUOTA": "500k"}  # for one of them
    done = jamba(command, "new.txt", *question, "-m", model, *short, stdin="what?\n", **quota)
    assert done.returncode == 0, done.stderr
    [said] = [line for line in done.stderr.splitlines() if "quota" in line]
    assert said == (
        "warning: for the quota of 0.5 MB removed 2 saved contexts, the longest unused, "
        f"{freed / 1e6:.1f} MB: @a, {bare}"
    )
    assert len(listed(here)) == 1


def test_gc_says_what_went_for_the_quota_and_what_it_kept(here, model, tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text(f"Text {name}. " * 200)
        here("ingest", f"{name}.txt", "--name", name, "-m", model)
    sizes = {context["names"][0]: (one, context["bytes"]) for one, context in listed(here).items()}
    (old, freed), (new, kept) = sizes["a"], sizes["b"]
    os.utime(next(tmp_path.rglob(f"{old}/context.json")), (1, 1))
    quota = {"JAMBA_CONTEXT_QUOTA": str(kept)}
    result = json.loads(here("contexts", "gc", "--json", **quota).stdout)
    assert result["removed"] == [f"{old} (@a): over the quota"]
    assert (result["bytes_freed"], result["bytes_kept"]) == (freed, kept)
    assert (result["kept"], result["left"], result["quota_bytes"]) == ([new], [], kept)
    said = here("contexts", "gc").stdout
    assert said.startswith("0 B freed; 1 context kept, ")
    assert said.endswith(" of the quota of 20 GB\n")


def test_a_window_that_is_missing_does_not_push_out_the_others(here, ask, long, store, tmp_path):
    first, *rest = ask("long.txt")["context"]["ids"]
    shutil.rmtree(store / first)
    (tmp_path / "other.txt").write_text("Another text. " * 200)
    ask("other.txt")
    os.utime(store / rest[0] / "context.json", (1, 1))  # used longest ago
    again = ask("long.txt", JAMBA_CONTEXT_QUOTA=ENOUGH)
    assert again["context"]["ids"] == [first, *rest]
    reused = sum(listed(here)[one]["tokens"] for one in rest)
    assert again["tokens"]["reused"] == reused
    assert sorted(listed(here)) == sorted([first, *rest])


def test_a_question_keeps_the_windows_that_fit_and_warns_once(here, ask, long):
    first = ask("long.txt", JAMBA_CONTEXT_QUOTA="700k")
    [warning] = [one for one in first["warnings"] if "not saved" in one]
    assert "the quota for saved contexts has no room beside what this run uses" in warning
    assert not first["context"]["saved"]
    assert first["context"]["reason"] == "see the warning"
    assert first["context"]["ids"] == list(listed(here))
    assert len(first["context"]["ids"]) == 1
    again = ask("long.txt", JAMBA_CONTEXT_QUOTA="700k")
    [kept] = listed(here).values()
    assert again["tokens"]["reused"] == kept["tokens"]


def test_a_question_by_another_model_does_not_push_out_what_it_asks(
    here, ask, model, long, tmp_path
):
    tight = {"JAMBA_CONTEXT_QUOTA": ENOUGH}
    assert here("ingest", "long.txt", "--name", "L", "-m", model, **tight).returncode == 0
    before = listed(here).keys()
    other = str(write_model(tmp_path / "other", context=6000, style="quote"))
    asked = here("ask", "@L", "what?", "-m", other, "--max-tokens", "3", "--json", **tight)
    assert "no room beside what this run uses" in asked.stderr
    assert listed(here).keys() == before


def test_no_name_is_given_to_what_is_gone(here, model, long, store, monkeypatch):
    read = ingesting._read_windows

    def read_and_lose_one(opened, reading, saving):
        read(opened, reading, saving)
        shutil.rmtree(store / saving.account.ids[0])

    monkeypatch.setattr(ingesting, "_read_windows", read_and_lose_one)
    done = here("ingest", "long.txt", "--name", "L", "-m", model)
    assert done.returncode == 1
    assert "1 of 3 contexts just saved are gone again" in done.stderr
    assert names(here) == {}
