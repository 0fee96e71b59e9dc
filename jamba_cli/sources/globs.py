"""The user's --include and --exclude patterns, in the grammar of .gitignore."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pathspec import GitIgnoreSpec

from runtime.errors import UsageError


class Globs:
    """A list of patterns; a later `!pattern` takes back what an earlier one matched."""

    def __init__(self, patterns: Sequence[str], *, option: str) -> None:
        try:
            self._each = [(pattern, GitIgnoreSpec.from_lines([pattern])) for pattern in patterns]
            self._all = GitIgnoreSpec.from_lines(patterns)
        except ValueError as error:
            raise UsageError(
                f"{option}: not a valid pattern: {error}", hint=f"for example {option} 'docs/*.md'"
            ) from error

    def __bool__(self) -> bool:
        return bool(self._each)

    def matches(self, relative: str) -> bool:
        """Whether the patterns as a whole select a file; `relative` is a POSIX path."""
        return bool(self._each) and self._all.match_file(relative)

    def matching(self, relative: str) -> Iterable[str]:
        """The single patterns that select a file."""
        if self.matches(relative):
            yield from (pattern for pattern, spec in self._each if spec.match_file(relative))

    def names_folder(self, folder: str) -> bool:
        """Whether a pattern spells out this folder's name."""
        return any(folder in pattern.strip("!/").split("/") for pattern, _ in self._each)

    def say_more_than_all(self, relative: str) -> bool:
        """Whether a pattern that says something about the name, not only `*`, selects a file."""
        return any(pattern.strip("*./!") for pattern in self.matching(relative))
