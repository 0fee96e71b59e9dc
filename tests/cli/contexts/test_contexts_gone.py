"""A name outlives its contexts: what is gone or damaged is said, and read again from its sources.

Through the real entry point, with a tiny model of random weights whose tokens are bytes.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

AGAIN = "hint: jamba ingest --update @s"


@pytest.fixture
def folders(here, model, store, tmp_path) -> list[Path]:
    """The folders of the windows of @s, three."""
    (tmp_path / "s.txt").write_text("".join(f"Line {n} says so.\n" for n in range(600)))
    done = here("ingest", "s.txt", "--name", "s", "-m", model)
    assert done.returncode == 0, done.stderr
    found = [store / one for one in contexts(here)["names"]["s"]]
    assert len(found) == 3
    return found


def contexts(here) -> dict:
    return json.loads(here("contexts", "--json").stdout)


def ask(here):
    return here("ask", "@s", "what?", "--max-tokens", "3", "--json")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("argv", "stdin"),
    [
        (["ask", "@s", "what?"], ""),
        (["summarize", "@s"], ""),
        (["chat", "@s"], "what?\n"),
        (["contexts", "show", "@s"], ""),
        (["contexts", "verify", "@s"], ""),
    ],
)
def test_what_is_gone_is_said_with_the_way_to_have_it_again(jamba, folders, argv, stdin):
    shutil.rmtree(folders[1])
    done = jamba(*argv, stdin=stdin)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: @s: 1 of its 3 contexts is gone: removed, or pushed out by the quota",
        AGAIN,
    ]


def test_show_has_what_is_left(here, folders):
    shutil.rmtree(folders[1])
    done = here("contexts", "show", "@s")
    assert [folder.name in done.stdout for folder in folders] == [True, False, True]
    shown = json.loads(here("contexts", "show", "@s", "--json").stdout)
    assert [one["id"] for one in shown["contexts"]] == [folders[0].name, folders[2].name]
    assert shown["missing"] == [folders[1].name]


def test_the_list_marks_a_name_that_is_not_whole(here, folders):
    assert contexts(here)["missing"] == {}
    for folder in folders[:2]:
        shutil.rmtree(folder)
    *_, left, marked = here("contexts", "list").stdout.splitlines()
    assert left.split()[:2] == [folders[2].name, "@s"]
    assert marked.split()[:2] == ["-", "@s"]
    assert marked.endswith("s.txt [2 of its 3 contexts are gone: jamba ingest --update @s]")
    assert contexts(here)["missing"] == {"s": [folder.name for folder in folders[:2]]}
    shutil.rmtree(folders[2])
    done = here("contexts", "list")
    assert "@s" in done.stdout
    assert "nothing is saved" not in done.stderr


def test_update_reads_what_is_gone_from_the_sources_that_the_name_remembers(here, folders):
    wanted = json.loads(ask(here).stdout)
    kept = json.loads(here("contexts", "show", "@s", "--json").stdout)["contexts"]
    shutil.rmtree(folders[1])
    done = here("ingest", "--update", "@s", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["context"]["computed"] == kept[1]["tokens"]
    assert result["context"]["ids"] == [folder.name for folder in folders]
    for folder in folders:
        shutil.rmtree(folder)
    assert here("ingest", "--update", "@s").returncode == 0
    assert contexts(here)["missing"] == {}
    again = json.loads(ask(here).stdout)
    assert again["answer"] == wanted["answer"]
    assert again["tokens"] == wanted["tokens"]


@pytest.mark.parametrize("file", ["context.json", "document.json"])
def test_damage_is_said_with_the_way_to_mend_it(here, folders, file):
    for harm in (flip, Path.unlink):
        harm(folders[0] / file)
        done = ask(here)
        assert done.returncode == 1
        assert done.stdout == ""
        error, hint = done.stderr.splitlines()
        assert error.startswith("error: @s: ")
        assert hint == AGAIN
        by_id = here("ask", f"@{folders[0].name}", "what?")
        assert by_id.returncode == 1
        if file == "document.json" or harm is flip:
            assert f"jamba ingest --update @{folders[0].name}" in by_id.stderr
        done = here("ingest", "--update", "@s")
        assert done.returncode == 0, done.stderr
        assert ask(here).returncode == 0
        assert here("contexts", "verify").returncode == 0
    flip(folders[0] / "context.json")
    assert "jamba ingest --update @s" in here("contexts", "show", "@s").stdout


def test_rm_takes_the_name_and_what_is_left(here, folders):
    shutil.rmtree(folders[0])
    done = here("contexts", "rm", "@s", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["removed"] == [folder.name for folder in folders[1:]]
    assert contexts(here)["names"] == {}
    assert contexts(here)["contexts"] == []


def test_rm_takes_a_name_that_stands_for_nothing_or_is_damaged(here, model, folders, store):
    for folder in folders:
        shutil.rmtree(folder)
    assert here("contexts", "rm", "@s").stdout == "@s and 0 contexts removed, 0 B freed\n"
    assert here("contexts", "rm", "@s").returncode == 1
    assert here("ingest", "s.txt", "--name", "s", "-m", model).returncode == 0
    flip(store / "names" / "s.json")
    assert "the name 's' is damaged" in ask(here).stderr
    assert here("contexts", "rm", "@s").returncode == 0
    assert list((store / "names").iterdir()) == []


def test_what_was_piped_in_is_to_be_piped_in_again(jamba, model, store):
    text = "Piped in. " * 200
    assert jamba("ingest", "-", "--name", "in", "-m", model, stdin=text).returncode == 0
    for folder in store.glob("*/context.json"):
        shutil.rmtree(folder.parent)
    asked = jamba("ask", "@in", "what?")
    assert asked.stderr.splitlines() == [
        "error: @in: its context is gone: removed, or pushed out by the quota",
        "hint: ... | jamba ingest - --name in",
    ]
    assert jamba("ingest", "--update", "@in").returncode == 2
