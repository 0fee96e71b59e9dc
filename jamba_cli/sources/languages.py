"""File name -> language, for labels only; None means plain text."""

from __future__ import annotations

from pathlib import PurePath

_BY_NAME = {
    "cmakelists.txt": "cmake",
    "containerfile": "dockerfile",
    "dockerfile": "dockerfile",
    "gemfile": "ruby",
    "gnumakefile": "make",
    "go.mod": "go",
    "justfile": "make",
    "makefile": "make",
    "rakefile": "ruby",
}

_BY_SUFFIX = {
    language: suffixes.split()
    for language, suffixes in {
        "bash": "sh bash zsh fish",
        "c": "c h",
        "clojure": "clj cljs",
        "cmake": "cmake",
        "cpp": "cc cpp cxx hh hpp hxx cu cuh",
        "csharp": "cs",
        "css": "css scss sass less",
        "dart": "dart",
        "elixir": "ex exs",
        "erlang": "erl hrl",
        "fortran": "f f90 f95",
        "go": "go",
        "haskell": "hs",
        "html": "html htm xhtml vue svelte",
        "ini": "ini cfg conf",
        "java": "java",
        "javascript": "js jsx mjs cjs",
        "json": "json jsonl json5",
        "julia": "jl",
        "kotlin": "kt kts",
        "latex": "tex sty cls bib",
        "lua": "lua",
        "make": "mk",
        "markdown": "md markdown mdx rmd qmd",
        "nix": "nix",
        "objectivec": "m mm",
        "ocaml": "ml mli",
        "perl": "pl pm",
        "php": "php",
        "protobuf": "proto",
        "python": "py pyi pyw pyx",
        "r": "r",
        "rst": "rst",
        "ruby": "rb rake gemspec",
        "rust": "rs",
        "scala": "scala sc",
        "sql": "sql",
        "swift": "swift",
        "terraform": "tf hcl",
        "toml": "toml",
        "typescript": "ts tsx mts cts",
        "xml": "xml xsd xsl svg",
        "yaml": "yaml yml",
        "zig": "zig",
    }.items()
}
_LANGUAGE = {suffix: language for language, found in _BY_SUFFIX.items() for suffix in found}


def language_of(name: str) -> str | None:
    """The language that a file's name tells."""
    path = PurePath(name.lower())
    return _BY_NAME.get(path.name) or _LANGUAGE.get(path.suffix.removeprefix("."))
