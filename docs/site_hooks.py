"""Hooks of mkdocs: what the site has beyond the pages of docs/, made as it is built.

The start page is README; the changelog and the notes for contributors are pages, too. The reference is made from the
docstrings: one page for each group of public names. A source file that a page links to is shown as a page.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path, PurePosixPath

from mkdocs.structure.files import File

import amorsize

ROOT = Path(__file__).resolve().parent.parent
# Pages of the site that stand outside of docs/.
PAGES = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
AT_HOME = {uri: path for path, uri in PAGES.items()}
LINK = re.compile(r"(?<=\]\()(?!https?:|#|mailto:)([^)#\s]+)")
# A command in the help of the one above it.
COMMAND = re.compile(r"^ {4}([a-z][\w-]*)(?:\s|$)", re.MULTILINE)
LANGUAGES = {".py": "python", ".json": "json", ".ipynb": "python", ".dot": "text"}

PUBLIC = [name for name in amorsize.__all__ if name not in ("AmorsizeError", "OptimizationResult")]
FUNCTIONS = [f"amorsize.{name}" for name in PUBLIC if name.islower()]
CLASSES = [f"amorsize.{name}" for name in PUBLIC if not name.islower()]
RECORDS = [
    "amorsize.plan.record.PlanRecord",
    *(f"amorsize.facts.{name}" for name in ("Forecast", "Breakdown", "Sample", "Trial", "Attempt")),
    "amorsize.loop_facts.ItemRecord",
    *(f"amorsize.plan.advice.{name}" for name in ("Advice", "WhatIf")),
    *(f"amorsize.plan.trials.race.{name}" for name in ("Race", "Timings", "Contender")),
    "amorsize.history.run_row.Run",
]
INTEGRATIONS = [
    f"amorsize.integrations.{name}"
    for name in ("pandas", "joblib", "tqdm", "rich", "pytest", "prometheus", "dask", "ray", "parsl", "mpi")
]
ABOUT_CLASSES = """\
All of these are names of `amorsize`; `OptimizationResult` is another name of `Plan`. A `Plan` also has the attributes
of [`PlanRecord`](records.md#amorsize.plan.record.PlanRecord); a `Validation` those of
[`Race`](records.md#amorsize.plan.trials.race.Race) and [`Timings`](records.md#amorsize.plan.trials.race.Timings)."""
ABOUT_RECORDS = """\
Objects that public functions return. Their attributes are public, their modules are not: get them from the object that
holds them instead of importing them."""
# Page of the reference: its title, what stands first, and the names that it documents.
REFERENCE = {
    "functions": ("Functions", "All of these are names of `amorsize`.", FUNCTIONS),
    "classes": ("Classes", ABOUT_CLASSES, CLASSES),
    "records": ("Records", ABOUT_RECORDS, RECORDS),
    "errors": ("Errors", "", ["amorsize.errors"]),
    "events": ("Events", "", ["amorsize.events"]),
    "testing": ("Testing", "", ["amorsize.testing"]),
    "integrations": ("Integrations", "Each is imported by its own name.", INTEGRATIONS),
}
# What a docstring puts between backticks, as HTML. A parameter bears the name of the function `machine`.
QUOTED = re.compile(r"<code>~?([\w.]+)</code>")
LINKED = {name: f"amorsize.{name}" for name in amorsize.__all__ if name not in ("machine", "OptimizationResult")}


def on_files(files, config):
    """Add the pages that are made here."""
    for path, uri in PAGES.items():
        files.append(File.generated(config, uri, content=(ROOT / path).read_text(encoding="utf-8")))
    for name, (title, first, names) in REFERENCE.items():
        blocks = "\n\n".join(f"::: {name}" for name in names)
        files.append(File.generated(config, f"reference/{name}.md", content=f"# {title}\n\n{first}\n\n{blocks}\n"))
    files.append(File.generated(config, "reference/command-line.md", content=command_line()))

    pages = [file for file in files if file.src_uri.endswith(".md") and not file.src_uri.startswith("reference/")]
    shown = {path for page in pages for path in outside(page.content_string, page.src_uri)}
    shown |= {file for path in shown if path.is_dir() for file in path.iterdir() if file.suffix in LANGUAGES}
    list_the_rest(pages, config.nav)
    for path in sorted(shown):
        files.append(File.generated(config, uri_of(path), content=shown_as_page(path)))
    return files


def list_the_rest(pages, nav):
    """Add the pages on how to do things that have no group yet to the navigation."""
    listed = json.dumps(nav)
    rest = [page.src_uri for page in pages if page.src_uri.startswith("howto/") and page.src_uri not in listed]
    if rest:
        next(part["How-to"] for part in nav if "How-to" in part).append({"More": rest})


def on_page_markdown(markdown, page, **_):
    """Make links that lead out of docs/ lead to the pages made from what they name."""
    here = PurePosixPath(page.file.src_uri).parent

    def led(match):
        path = target(match[1], page.file.src_uri)
        return match[1] if path is None else os.path.relpath(uri_of(path), here)

    return LINK.sub(led, markdown)


def on_page_content(html, page, **_):
    """Make public names that docstrings mention lead to their place in the reference."""
    if page.file.src_uri.removeprefix("reference/").removesuffix(".md") not in REFERENCE:
        return html

    def led(match):
        name = match[1].rpartition(".")[2]
        to = match[1] if match[1].startswith("amorsize.") else LINKED.get(match[1])
        return f'<autoref optional identifier="{to}"><code>{name}</code></autoref>' if to else match[0]

    return QUOTED.sub(led, html)


def target(link, uri):
    """Return the file in this tree to which a link of a page leads, if that is no neighbour within docs/."""
    shown = uri.removeprefix("source/").removesuffix(".md") if uri.startswith("source/") else AT_HOME.get(uri)
    at = ROOT / "docs" / uri if shown is None else ROOT / shown
    path = Path(os.path.normpath(at.parent / link))
    is_neighbour = shown is None and path.is_relative_to(ROOT / "docs") and path.suffix not in LANGUAGES
    return None if is_neighbour or not path.exists() else path


def outside(markdown, uri):
    """Yield the source files and folders that a page links to."""
    for link in LINK.findall(markdown):
        path = target(link, uri)
        if path is not None and uri_of(path).startswith("source/"):
            yield path


def uri_of(path):
    """Return the page of the site that shows a file or folder of this tree."""
    name = path.relative_to(ROOT).as_posix()
    if name in PAGES:
        return PAGES[name]
    is_page = name.startswith("docs/") and path.suffix not in LANGUAGES
    return name.removeprefix("docs/") if is_page else f"source/{name}.md"


def shown_as_page(path):
    """Return a page that shows a source file, or lists a folder."""
    title = f"# `{path.relative_to(ROOT).as_posix()}`\n\n"
    if path.is_dir():
        files = sorted(file.name for file in path.iterdir() if file.suffix in LANGUAGES)
        return title + "\n".join(f"- [{name}]({path.name}/{name}.md)" for name in files) + "\n"
    if path.suffix == ".ipynb":
        return title + "\n\n".join(map(cell_as_text, json.loads(path.read_text(encoding="utf-8"))["cells"]))
    return f"{title}````{LANGUAGES.get(path.suffix, 'text')}\n{path.read_text(encoding='utf-8').rstrip()}\n````\n"


def cell_as_text(cell):
    """Return a notebook's cell as Markdown."""
    source = "".join(cell["source"])
    return source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```"


def command_line():
    """Return the reference of the command line: the help of each command."""
    return "# Command line\n\n`amorsize` and `python -m amorsize` are the same.\n\n" + "\n".join(sections(["amorsize"]))


def sections(words):
    """Yield a section for a command, and one for each command below it."""
    text = help_of(*words)
    yield f"## `{' '.join(words)}`\n\n```text\n{text.rstrip()}\n```\n"
    for command in COMMAND.findall(text.partition("\ncommands:\n")[2].partition("\n\n")[0]):
        yield from sections([*words, command])


def help_of(program, *words):
    """Return the help of a command."""
    env = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1"}
    command = [sys.executable, "-m", program, *words, "--help"]
    return subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=True).stdout
