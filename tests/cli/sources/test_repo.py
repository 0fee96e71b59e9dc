"""Which files of a folder are read: ignore rules, links, special files, credentials, order."""

import os
import shutil
from pathlib import Path

import pytest

from jamba_cli.sources.globs import Globs
from jamba_cli.sources.repo import list_folder
from jamba_cli.sources.resolve import ReadOptions, read_sources
from runtime.errors import InputError, UsageError
from tests.cli.sources.folders import git, paths, read, reasons, write

NO_GLOBS = Globs((), option="--include")

TRUTH = {
    ".gitignore",
    "LICENSE",
    "README.md",
    "a/.gitignore",
    "a/important.txt",
    "blob",
    "docs/gen.md",
    "docs/latin1.c",
    "docs/utf16.txt",
    "src/keep.log",
    "src/main.py",
    "src/util.py",
    "tracked.log",
}


@pytest.fixture(autouse=True)
def _own_git_settings(monkeypatch):
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


@pytest.fixture
def without_git(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("PATH", str(tmp_path_factory.mktemp("empty")))
    assert shutil.which("git") is None


@pytest.fixture
def peers_repository(tmp_path) -> Path:
    """The case of cli.md 5.1, on which every packer errs."""
    root = write(
        tmp_path / "repo",
        {
            ".gitignore": "*.log\n!keep.log\n/gen.md\nbuild/\n",
            "LICENSE": "free\n",
            "README.md": "# Read\n",
            "a/.gitignore": "*.txt\n!important.txt\n",
            "a/important.txt": "important\n",
            "a/x.txt": "x\n",
            "blob": b"\x7fELF\0\0\0",
            "build/out.py": "out = 1\n",
            "docs/gen.md": "not the anchored one\n",
            "docs/latin1.c": "/* déjà vu */\n".encode("latin-1"),
            "docs/utf16.txt": "größe\nzwei\n".encode("utf-16"),
            "gen.md": "generated\n",
            "info.md": "of info/exclude\n",
            "src/debug.log": "debug\n",
            "src/keep.log": "kept\n",
            "src/main.py": "print('main')\n",
            "src/util.py": "x = 1\n",
            "tracked.log": "tracked although ignored\n",
            ".venv/.gitignore": "*\n",
            ".venv/lib/x.py": "x = 1\n",
        },
    )
    git(root, "init", "-q")
    (root / ".git/info/exclude").write_text("info.md\n")
    git(root, "add", "-f", "tracked.log", "src/main.py")
    return root


def test_git_and_this_agree_on_the_13_files(peers_repository):
    told = git(peers_repository, "ls-files", "-co", "--exclude-standard").split()
    assert set(told) == TRUTH
    assert set(list_folder(peers_repository, NO_GLOBS).files) == TRUTH


def test_without_git_only_the_tracked_but_ignored_file_is_missing(peers_repository, without_git):
    found = list_folder(peers_repository, NO_GLOBS)
    assert set(found.files) == TRUTH - {"tracked.log"}


def test_encodings_and_binaries_of_the_13_files(peers_repository):
    document = read(peers_repository)
    text = {part.path: part.text for part in document.parts}
    assert set(text) == TRUTH - {"blob"}
    assert reasons(document) == {"blob": "binary"}
    assert text["docs/latin1.c"] == "/* déjà vu */\n"
    assert text["docs/utf16.txt"] == "größe\nzwei\n"
    assert document.warnings == ("docs/latin1.c: not UTF-8; read as Windows-1252 (a guess)",)


@pytest.mark.parametrize("hidden", [False, True])
def test_a_sub_folder_follows_the_rules_above_it(peers_repository, hidden, monkeypatch, tmp_path):
    if hidden:
        monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert sorted(paths(read(peers_repository / "src"))) == ["keep.log", "main.py", "util.py"]


@pytest.mark.parametrize("hidden", [False, True])
def test_an_ignored_folder_is_read_when_named(peers_repository, hidden, monkeypatch, tmp_path):
    if hidden:
        monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert paths(read(peers_repository / "build")) == ["out.py"]


@pytest.mark.parametrize("hidden", [False, True])
def test_include_brings_ignored_files_back(peers_repository, hidden, monkeypatch, tmp_path):
    if hidden:
        monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert "src/debug.log" in paths(read(peers_repository, include=("*.log",)))
    assert "build/out.py" in paths(read(peers_repository, include=("build/**",)))
    with_python = paths(read(peers_repository, include=("*.py",)))
    assert "build/out.py" in with_python
    assert ".venv/lib/x.py" not in with_python
    assert ".venv/lib/x.py" in paths(read(peers_repository, include=(".venv/**",)))
    assert "gen.md" not in paths(read(peers_repository, include=("*", "**/*")))


@pytest.mark.parametrize("hidden", [False, True])
def test_jambaignore_holds_for_tracked_files_too(peers_repository, hidden, monkeypatch, tmp_path):
    write(peers_repository, {".jambaignore": "src/\n*.c\n", "docs/.jambaignore": "!latin1.c\n"})
    if hidden:
        monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    found = paths(read(peers_repository))
    assert "src/main.py" not in found
    assert "docs/latin1.c" in found
    assert paths(read(peers_repository, include=("src/main.py",))).count("src/main.py") == 1
    with pytest.raises(UsageError, match="--exclude: not a valid pattern"):
        read(peers_repository, exclude=("!",))


def test_rules_below_an_ignored_folder_take_nothing_back(tmp_path):
    write(
        tmp_path,
        {
            ".gitignore": b"\xef\xbb\xbfout/\r\n*.tmp\r\n!\r\n",
            "out/.gitignore": "!kept.py\n",
            "out/kept.py": "x\n",
            "in/a.tmp": "x\n",
            "in/a.py": "x\n",
        },
    )
    assert set(list_folder(tmp_path, NO_GLOBS).files) == {".gitignore", "in/a.py"}


def test_the_git_file_of_a_work_tree_is_not_read(tmp_path):
    write(tmp_path, {".git": "gitdir: /nowhere\n", "a.py": "a\n"})
    document = read(tmp_path)
    assert paths(document) == ["a.py"]
    assert "listed without git" in document.warnings[0]


def test_exclude_is_named_and_beats_include(tmp_path):
    write(tmp_path, {"a.py": "a\n", "b.py": "b\n"})
    document = read(tmp_path, include=("*.py",), exclude=("b.py",))
    assert paths(document) == ["a.py"]
    assert reasons(document) == {"b.py": "--exclude"}


def test_repositories_inside_are_listed_by_their_own_rules(tmp_path):
    root = write(tmp_path / "outer", {"a.py": "a\n", ".gitignore": "*.skip\n"})
    for name in ("module", "clone"):
        write(root / name, {"in.py": "b\n", "out.tmp": "t\n", ".gitignore": "*.tmp\n"})
        git(root / name, "init", "-q")
        git(root / name, "add", ".")
    git(root / "module", "-c", "user.name=n", "-c", "user.email=e", "commit", "-qm", "m")
    git(root, "init", "-q")
    git(root, "-c", "advice.addEmbeddedRepo=false", "add", "module", "a.py")
    told = git(root, "ls-files", "--stage", "module")
    assert told.startswith("160000")  # a submodule to git
    listing = list_folder(root, NO_GLOBS)
    assert {"a.py", "module/in.py", "clone/in.py"} <= set(listing.files)
    assert not {"module/out.tmp", "clone/out.tmp"} & set(listing.files)


def test_attributes_of_the_repository_decide(tmp_path):
    root = write(
        tmp_path / "repo",
        {
            ".gitattributes": "llama/** linguist-vendored\napi.py linguist-generated=true\n"
            "own.min.js -linguist-generated\nvendor/** -linguist-vendored\n",
            "llama/a.c": "int a;\n",
            "api.py": "x = 1\n",
            "own.min.js": "var a;\n",
            "vendor/mine.py": "x = 1\n",
            "a.py": "a\n",
        },
    )
    git(root, "init", "-q")
    document = read(root)
    assert sorted(paths(document)) == [".gitattributes", "a.py", "own.min.js", "vendor/mine.py"]
    assert reasons(document) == {"llama/a.c": "vendored", "api.py": "generated"}
    assert "api.py" in paths(read(root, include=("api.py",)))


def test_what_changes_least_comes_first(tmp_path):
    names = [
        "README.md",
        "pyproject.toml",
        "docs/README.md",
        "docs/guide.md",
        "lib/a.py",
        "lib/b.py",
        "zz.py",
        "conftest.py",
        "lib/a_test.go",
        "tests/helpers.py",
        "tests/test_a.py",
        "CHANGELOG.md",
    ]
    write(tmp_path, dict.fromkeys(reversed(names), "x = 1\n"))
    assert sorted(paths(read(tmp_path))) == sorted(names)
    found = paths(read(tmp_path))
    assert found[:2] == names[:2]
    assert found[-1] == "CHANGELOG.md"
    tests = ["conftest.py", "lib/a_test.go", "tests/helpers.py", "tests/test_a.py"]
    assert found[-5:-1] == tests
    assert found.index("docs/README.md") < found.index("docs/guide.md") < found.index("lib/a.py")


def test_references_name_the_original_lines(tmp_path):
    lines = [f"line {number}" for number in range(1, 400)]
    write(
        tmp_path,
        {"crlf.txt": "\r\n".join(lines), "lf.txt": "\n".join(lines), "b.txt": "\ufeff\n\nthird"},
    )
    for part in read(tmp_path).parts:
        sought = "third" if part.path == "b.txt" else "line 256"
        line = "3" if part.path == "b.txt" else "256"
        assert part.reference(part.text.index(sought)) == f"[{part.path}:{line}]"


def test_a_folder_without_anything_to_read_is_an_error_that_says_why(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no files in this folder"):
        read(tmp_path / "empty")
    write(tmp_path / "full", {"a.png": "x", "b.png": "x", "uv.lock": "x", ".env": "KEY=1"})
    with pytest.raises(InputError) as caught:
        read(tmp_path / "full")
    said = "nothing to read; left out: 2 image, 1 looks like a credential, 1 lock file"
    assert said in caught.value.message
    assert "--include '.env'" in caught.value.hint
    read(tmp_path / "full", include=(".env",))  # the advice helps
    # One good source beside it does not hide the failure.
    write(tmp_path, {"good.py": "x = 1\n"})
    with pytest.raises(InputError, match="nothing to read"):
        read_sources([str(tmp_path / "good.py"), str(tmp_path / "full")], ReadOptions())
