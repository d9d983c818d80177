"""The progress bar of a stage in a terminal."""

from __future__ import annotations

import sys
import time

from mer_pipeline.base.runs import Progress, quiet


def progress_bar(label: str) -> Progress:
    """Return a Progress that shows a bar with the rate and the remaining time on standard error.

    The bar appears after two seconds. If standard error is not a terminal, nothing is shown.

    Args:
        label: the text before the bar.
    """
    if not sys.stderr.isatty():
        return quiet
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar
    from rich.text import Text

    class Rate(ProgressColumn):
        """A column that shows the number of clips per second."""

        def render(self, task: Task) -> Text:
            return Text("" if task.speed is None else f"{task.speed:.1f}/s", style="dim")

    bar = Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    task = bar.add_task(label, total=None)
    started = time.monotonic()

    def tell(done: int, total: int) -> None:
        if not bar.live.is_started and time.monotonic() - started > 2:
            bar.start()
        bar.update(task, completed=done, total=total)
        if done >= total:
            bar.stop()

    return tell
