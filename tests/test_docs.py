"""The docs say what is: generated pages are current, commands exist, links lead somewhere."""

import doctest
import importlib
import importlib.util
import re
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from mer_pipeline.config.components import ADAPTERS, BACKENDS, DETECTORS, ENCODERS, HEADS, JUDGES
from tests.forks import python

ROOT = Path(__file__).resolve().parent.parent
RESULTS = (ROOT / "docs/results.md").read_text(encoding="utf-8")
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])


def script(name: str) -> ModuleType:
    """A script of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", ROOT / f"docs/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_params_page_is_current() -> None:
    """Mend: python docs/write.py."""
    assert (ROOT / "docs/params.md").read_text() == script("write").params_page()


def test_tables_of_components_are_current() -> None:
    """Those of encoders, judges, backends and label maps, where they stand. Mend: python docs/write.py."""
    pages = script("write").pages()
    assert {path.name for path in pages} == {"encoders.md", "judges.md", "enrichment.md"}
    assert {path: path.read_text() for path in pages} == pages


def test_every_component_is_in_the_docs() -> None:
    """With a line of its own in the reference of params."""
    page = (ROOT / "docs/params.md").read_text()
    for table in (ENCODERS, JUDGES, HEADS, ADAPTERS, BACKENDS, DETECTORS):
        assert [name for name in table.built_in if f"| **{name}** |" not in page] == []


@pytest.mark.parametrize("name", script("tables").TABLES)
def test_tables_of_results_are_those_of_the_benchmarks(name: str) -> None:
    """Each stands at its place in the page. Mend: python docs/write.py."""
    place = re.search(rf"^<!-- {name} -->\n(.*?)^<!-- /{name} -->$", RESULTS, re.M | re.S)
    assert place is not None
    tables = script("tables").BENCHMARK_TABLES
    assert name not in tables or place[1] == "\n".join(tables[name]()) + "\n"


def test_no_table_of_results_is_written_by_hand() -> None:
    """Each has a function in docs/tables.py; only figures of simulations stand beside the tests that made them."""
    by_hand = re.sub(r"^<!-- (.+?) -->$.*?^<!-- /\1 -->$", "", RESULTS, flags=re.M | re.S)
    assert [line for line in by_hand.splitlines() if line.startswith("| ") and "`tests/" not in line] == [
        "| promise | simulation | found | test |"
    ]


def test_every_param_has_a_meaning() -> None:
    """No key is listed without a word about it."""
    rows = [line for line in (ROOT / "docs/params.md").read_text().splitlines() if line.startswith("| `")]
    assert rows
    assert not [row for row in rows if row.endswith("|  |")]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Relative links name files that are there, and headings that are in them."""
    for target, heading in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)", page.read_text()):
        place = page.parent / target if target else page
        assert place.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.+)$", place.read_text(), re.M)
            assert heading in {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}, heading


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_make_targets_exist(page: Path) -> None:
    """Every `make NAME` in the docs is a target."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    named = set(re.findall(r"`make ([a-z]+)`", page.read_text())) | set(
        re.findall(r"^make ([a-z]+)", page.read_text(), re.M)
    )
    assert named <= targets


@pytest.mark.slow
def test_mer_commands_of_the_docs_run(tmp_path: Path) -> None:
    """`mer ...` lines in shell blocks are run as they stand, in a folder with clips where the docs assume one."""
    (tmp_path / "profiles").symlink_to(ROOT / "profiles")
    (tmp_path / "metrics").symlink_to(ROOT / "metrics")
    (tmp_path / "report").mkdir()
    (tmp_path / "report/index.html").touch()
    clips = tmp_path / "path/to/clips"
    clips.mkdir(parents=True)
    (clips / "a.mp4").touch()
    (tmp_path / "path/to/clips.csv").write_text("name,label,speaker\na,happy,1\n")
    for name in ("truth", "before", "submission"):
        (tmp_path / f"{name}.csv").write_text("name,discrete\na,happy\nb,sad\n")
    blocks = [block for page in PAGES for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.S)]
    commands = [line.split("  #")[0] for block in blocks for line in block.splitlines() if line.startswith("mer ")]
    assert len(commands) >= 2
    for command in commands:
        words = [python(), "-m", "mer_pipeline.cli.main", *command.split()[1:]]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, (command, done.stderr)


TERMS = dict(re.findall(r"^- \*\*(.+?)\*\*: (.+)$", (ROOT / "docs/glossary.md").read_text(encoding="utf-8"), re.M))
SPOKEN = {
    path: path.read_text(encoding="utf-8")
    for path in [
        *PAGES,
        ROOT / "CHANGELOG.md",
        *(p for folder in ("mer_pipeline", "stages") for p in (ROOT / folder).rglob("*.*")),
    ]
    if path.suffix in {".py", ".md", ".jinja", ".yaml"} and path.name != "glossary.md"
}
# Words that meant something in this project alone, and what is said instead.
PRIVATE = {
    r"strangers?": "unmatched names",
    r"witness(es)?": "corroborating families",
    r"bought(?!\")": "external response",  # in quotes it is a name in the key of stored replies
    r"brought": "external features",
    r"ballots?": "held-out votes",
    r"shel(f|ves)": "pack set",
    r"watched": "validation fold",
    r"own heads?": "fusion-head judge",
    r"known ?heads": "head cache",
}


@pytest.mark.parametrize("term", TERMS)
def test_a_term_of_the_glossary_is_used(term: str) -> None:
    """In the code as a word or a name (row cache, row_cache, RowCache), or in another page; and it has one sentence."""
    spelled = re.compile(r"[ _-]?".join(re.escape(word) for word in re.split(r"[ -]", term)), re.I)
    assert any(spelled.search(text) for text in SPOKEN.values())
    assert TERMS[term].endswith(".")
    assert TERMS[term].count(". ") == 0


@pytest.mark.parametrize("word", PRIVATE)
def test_private_words_are_not_used(word: str) -> None:
    """One thing has one name, and it is the field's."""
    found = [path.name for path, text in SPOKEN.items() if re.search(rf"\b{word}\b", text, re.I)]
    assert not found, f"say '{PRIVATE[word]}'"


def test_every_dependency_has_a_reason() -> None:
    """What pyproject.toml asks for stands in docs/dependencies.md."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *(line for lines in project["optional-dependencies"].values() for line in lines)]
    text = (ROOT / "docs/dependencies.md").read_text().lower()
    for requirement in asked:
        assert re.split(r"[<>=]", requirement)[0].lower() in text, requirement


def test_locks_have_hashes_and_no_addresses() -> None:
    """A lock is the same wherever packages come from."""
    for name in ("requirements.lock", "requirements-dev.lock", "requirements-uv.lock"):
        text = (ROOT / name).read_text()
        assert "://" not in text
        pins = [line for line in text.splitlines() if re.match(r"^[a-z]", line)]
        assert all("==" in pin for pin in pins)
        assert text.count("--hash=sha256:") >= len(pins)
    base, dev = ((ROOT / name).read_text().split() for name in ("requirements.lock", "requirements-dev.lock"))
    assert {w for w in base if "==" in w} <= {w for w in dev if "==" in w}


EXAMPLES = [path for path in sorted((ROOT / "mer_pipeline").rglob("*.py")) if ">>>" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_examples_in_docstrings_give_what_they_say(path: Path) -> None:
    """Each example is run as it stands."""
    module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    ran = doctest.testmod(module)
    assert ran.attempted
    assert not ran.failed
