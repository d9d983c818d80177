"""The page in a real browser: it obeys its own policy, and the gallery's filter works without a script."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mer_pipeline.config.project import Project
from mer_pipeline.report.build import build

CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--enable-logging=stderr",
)  # fmt: skip
# Put into a copy of the page, which has no policy then: presses a filter and writes down which cards are seen.
HOOK = """<script>
addEventListener("load", () => {
  document.querySelector('label[for="show-changed"]').click();
  const seen = [...document.querySelectorAll(".card")].filter((card) => card.checkVisibility());
  const other = seen.filter((card) => !card.classList.contains("is-changed")).length;
  document.title = `seen ${seen.length} other ${other} wide ${document.documentElement.scrollWidth}`;
});
</script></body>"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no `chromium` on PATH; the page is only parsed, not rendered")


def browse(page: Path, profile: Path, *flags: str) -> tuple[str, str]:
    """What Chromium writes on stdout, and the page's console."""
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", *flags, page.as_uri()]
    done = subprocess.run(command, capture_output=True, timeout=120, check=True)
    console = [line for line in done.stderr.decode(errors="replace").splitlines() if ":CONSOLE" in line]
    return done.stdout.decode(errors="replace"), "\n".join(console)


def test_renders_under_its_policy(project: Callable[..., Project], tmp_path: Path) -> None:
    """A screenshot comes out, and neither the policy nor the page has anything to complain of."""
    shot = tmp_path / "page.png"
    _, console = browse(build(project()), tmp_path / "profile", f"--screenshot={shot}", "--window-size=1280,900")
    assert console == ""
    assert shot.stat().st_size > 30_000


def test_the_filter_shows_one_kind(project: Callable[..., Project], tmp_path: Path) -> None:
    """Pressing "Label changed" leaves exactly those cards; on a phone nothing sticks out sideways."""
    html = build(project()).read_text(encoding="utf-8")
    copy = tmp_path / "copy.html"
    copy.write_text(re.sub(r"<meta http-equiv[^>]*>", "", html).replace("</body>", HOOK), encoding="utf-8")
    dom, _ = browse(copy, tmp_path / "profile", "--dump-dom", "--window-size=500,900")
    changed = html.count(" is-changed")
    assert changed > 0
    assert f"<title>seen {changed} other 0 wide 500</title>" in dom
