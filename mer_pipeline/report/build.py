"""Build the page `report/index.html` from the results and the pictures by one template.

    tables, metrics ──collect──► facts ──views──► sentences, rows ─┐
                     └─gallery──► cards ──────────────────────────┴─template─► index.html

The page loads no other file and runs no script: style and pictures are inside it, and its Content-Security-Policy
allows only this style. The template engine escapes all text that comes from the data. The same inputs give the same
bytes.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from mer_pipeline.base.atomic import atomic_write
from mer_pipeline.config.project import Project
from mer_pipeline.datasets.adapter import MER_CLASSES
from mer_pipeline.report import modality_maps, views
from mer_pipeline.report.ablation import forests
from mer_pipeline.report.collect import STAGES, Facts, collect
from mer_pipeline.report.gallery import KINDS, Card, gallery
from mer_pipeline.report.sources import footer, parts, sha256
from mer_pipeline.report.target import target_view
from mer_pipeline.report.trust import trust

GALLERY = 24  # the most clips that the gallery shows, by default
POLICY = "default-src 'none'; img-src data:; style-src '{style}'; base-uri 'none'; form-action 'none'"
LISTED = 60  # the most rows that the page shows of a long table
METRICS = ("train", "predict", "labels", "pseudo", "ablation")  # the metric files that the page shows


@dataclass(frozen=True)
class Input:
    """A file that the page is made from, with the SHA-256 of its bytes."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Made:
    """What the footer of a stage's table says about how the table was made.

    Attributes:
        stage: the name of the table.
        shards: the number of its files.
        told: keys and values of the footer.
    """

    stage: str
    shards: int
    told: tuple[tuple[str, str], ...]


def build(
    project: Project | None = None,
    classes: Sequence[str] = MER_CLASSES,
    *,
    title: str = "Emotion recognition report",
    clips: int = GALLERY,
) -> Path:
    """Write the page.

    Args:
        project: the project to report on; by default that of the current folder.
        classes: the classes in order, `dataset.classes` in params.yaml.
        title: the title of the page.
        clips: the most clips that the gallery shows.

    Returns:
        The path of the page.

    Raises:
        StageError: an input is missing, or does not have the form that the stages write. A page that exists already is
            then left unchanged.
    """
    project = project or Project()
    facts = collect(project, classes)
    page = render(facts, gallery(facts, project, clips), title, _inputs(project), _made(project, facts))
    out = project.report
    atomic_write(out, page)
    return out


def render(
    facts: Facts, cards: tuple[Card, ...], title: str, inputs: tuple[Input, ...] = (), made: tuple[Made, ...] = ()
) -> str:
    """Return the HTML of the page.

    Args:
        facts: all results.
        cards: the clips of the gallery.
        title: the title of the page.
        inputs: the files that the page is made from.
        made: how the tables were made.
    """
    here = files(__package__)
    style = here.joinpath("style.css").read_text(encoding="utf-8")
    loader = FunctionLoader(lambda name: here.joinpath(name).read_text(encoding="utf-8"))
    engine = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    engine.filters.update(pct=_pct, points=_points, heat=_heat, cap=_capital)
    return engine.get_template("template.html.jinja").render(
        title=title,
        style=Markup(style),  # the only text that is not escaped; it is part of this package
        policy=POLICY.format(style=csp_hash(style)),
        facts=facts,
        train=facts.metrics.train,
        predict=facts.metrics.predict,
        pseudo=facts.metrics.pseudo,
        headline=views.headline(facts),
        splits={name: sum(clip.split == name for clip in facts.clips.values()) for name in ("train", "test", "pool")},
        groups=len({clip.group for clip in facts.clips.values()}),
        bases=views.bases(facts),
        heads=views.head_rows(facts),
        blind=views.blind_rows(facts),
        remarks=views.remarks(facts),
        single=views.single_tables(facts),
        detail=views.detail(facts),
        target=target_view(facts),
        weights=modality_maps.weights(facts),
        importance=modality_maps.importance(facts),
        labels=views.labels(facts),
        trust=trust(facts, cards),
        ablation=facts.ablation,
        forests=forests(facts.ablation),
        cards=cards,
        kinds=KINDS,
        shown={kind: sum(kind in card.kinds for card in cards) for kind in KINDS},
        column=views.COLUMN,
        meaning=views.MEANING,
        listed=LISTED,
        inputs=inputs,
        made=made,
    )


def _inputs(project: Project) -> tuple[Input, ...]:
    tables = (project.manifest, project.truth, project.labels, project.predictions, project.out_of_fold)
    places = [*tables, *map(project.metrics, METRICS), project.params]
    return tuple(Input(project.name_of(place), sha256(place)) for place in places if place.is_file())


def _made(project: Project, facts: Facts) -> tuple[Made, ...]:
    stages = (*STAGES, *(f"features/{name}" for name in facts.metrics.train.encoders))
    found = ((stage, project.table(stage)) for stage in stages)
    return tuple(Made(name, len(parts(place)), tuple(footer(place).items())) for name, place in found if parts(place))


def csp_hash(text: str) -> str:
    """Return the hash of a style, as a Content-Security-Policy names it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _pct(value: float | None, digits: int = 1) -> str:
    """Return a fraction in per cent without the sign "%", or a dash for None.

    Example:
        >>> _pct(0.1234)
        '12.3'
    """
    return "\N{EN DASH}" if value is None else f"{100 * value:.{digits}f}"


def _points(value: float) -> str:
    """Return a difference of fractions in percentage points, with its sign.

    Example:
        >>> _points(0.0123)
        '+1.2'
    """
    return f"{100 * value:+.1f}".replace("-", "\N{MINUS SIGN}")


def _heat(value: float | None, top: float = 1.0) -> int:
    """Return one of the eleven steps of the heat scale, from 0 to 10; only a value of 0 or None gives step 0."""
    share = abs(value or 0.0) / (top or 1.0)
    return 0 if share <= 0 else max(1, min(10, round(10 * share)))


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]
