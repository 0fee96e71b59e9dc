"""The order of a folder's files in the prompt: what changes least comes first.

An edit invalidates the saved state of everything after it.  So what explains the rest leads
(README, manifests), and in a git work tree the other files follow by their last commit, the oldest
first: what was changed lately will most likely change again.  Without a history tests follow the
code, and change logs come last.  `tests/benchmarks/incremental.py` measures what that brings.
"""

from __future__ import annotations

import re

_README = re.compile(r"readme([._-].*)?", re.IGNORECASE)
_MANIFESTS_WORDS = """
    pyproject.toml setup.py setup.cfg requirements.txt package.json tsconfig.json cargo.toml
    go.mod makefile cmakelists.txt meson.build build.gradle build.gradle.kts pom.xml gemfile
    composer.json mix.exs deno.json justfile dockerfile environment.yml pubspec.yaml
    package.swift build.zig flake.nix dune-project
"""
_MANIFESTS = frozenset(_MANIFESTS_WORDS.split())
_TEST_FOLDERS = frozenset({"test", "tests", "__tests__", "spec", "specs", "testing", "testdata"})
_TEST_NAME = re.compile(
    r"test_.*|conftest\.py|.*_test\.\w+|.*[._-](test|spec)\.[cm]?[jt]sx?|.*_spec\.rb|.*Tests?\.\w+"
)
_CHANGES = re.compile(r"(changelog|changes|history|news|release[-_]?notes)([._-].*)?", re.I)

PromptOrder = tuple[int, int, tuple[tuple[bool, str], ...]]


def prompt_order(relative: str, changed_at: int | None = None) -> PromptOrder:
    """The sort key of a file, a POSIX path relative to the folder given.

    `changed_at` is when it was last changed, in any unit, None where no file of the folder has a
    history.  Files of one commit go by their path.
    """
    *folders, name = relative.split("/")
    path = (*((True, folder) for folder in folders), (not _README.fullmatch(name), name))
    if not folders and _README.fullmatch(name):
        return 0, 0, path
    if not folders and name.lower() in _MANIFESTS:
        return 1, 0, path
    if changed_at is not None:
        return 2, changed_at, path
    if not folders and _CHANGES.fullmatch(name):
        return 4, 0, path
    return (3 if is_test(relative) else 2), 0, path


def is_test(relative: str) -> bool:
    """Whether a file belongs to the tests, by the usual names."""
    *folders, name = relative.split("/")
    return not _TEST_FOLDERS.isdisjoint(folders) or _TEST_NAME.fullmatch(name) is not None
