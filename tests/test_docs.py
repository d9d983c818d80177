"""The docs say what is: generated pages are current, commands exist, links lead somewhere."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])


def writer() -> object:
    spec = importlib.util.spec_from_file_location("docs_write", ROOT / "docs/write.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_params_page_is_current() -> None:
    """Mend: python docs/write.py."""
    assert (ROOT / "docs/params.md").read_text() == writer().params_page()  # type: ignore[attr-defined]


def test_measured_tables_are_those_of_the_benchmarks() -> None:
    """Mend: python docs/write.py."""
    tables, page = writer().BENCHMARK_TABLES, (ROOT / "docs/method.md").read_text()  # type: ignore[attr-defined]
    for lines in (table() for table in tables):
        assert "\n" + "\n".join(lines) + "\n\n" in page


def test_every_param_has_a_meaning() -> None:
    """No key is listed without a word about it."""
    rows = [line for line in (ROOT / "docs/params.md").read_text().splitlines() if line.startswith("| `")]
    assert rows
    assert not [row for row in rows if row.endswith("|  |")]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Relative links name files that are there."""
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_make_targets_exist(page: Path) -> None:
    """Every `make NAME` in the docs is a target."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    named = set(re.findall(r"`make ([a-z]+)`", page.read_text())) | set(
        re.findall(r"^make ([a-z]+)", page.read_text(), re.M)
    )
    assert named <= targets


def test_mer_commands_of_the_docs_run(tmp_path: Path) -> None:
    """`mer ...` lines in shell blocks are run as they stand, in a folder with clips where the docs assume one."""
    (tmp_path / "profiles").symlink_to(ROOT / "profiles")
    (tmp_path / "metrics").symlink_to(ROOT / "metrics")
    (tmp_path / "report").mkdir()
    (tmp_path / "report/index.html").touch()
    clips = tmp_path / "path/to/clips"
    clips.mkdir(parents=True)
    (tmp_path / "path/to/clips.csv").write_text("name,label,speaker\na,happy,1\n")
    for name in ("truth", "before", "submission"):
        (tmp_path / f"{name}.csv").write_text("name,discrete\na,happy\nb,sad\n")
    blocks = [block for page in PAGES for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.S)]
    commands = [line.split("  #")[0] for block in blocks for line in block.splitlines() if line.startswith("mer ")]
    assert len(commands) >= 2
    for command in commands:
        words = [sys.executable, "-m", "mer_pipeline.cli.main", *command.split()[1:]]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, (command, done.stderr)


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
    for name in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / name).read_text()
        assert "://" not in text
        pins = [line for line in text.splitlines() if re.match(r"^[a-z]", line)]
        assert all("==" in pin for pin in pins)
        assert text.count("--hash=sha256:") >= len(pins)
    base, dev = ((ROOT / name).read_text().split() for name in ("requirements.lock", "requirements-dev.lock"))
    assert {w for w in base if "==" in w} <= {w for w in dev if "==" in w}
