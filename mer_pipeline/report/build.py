"""The page: facts and pictures through one template into `report/index.html`.

    tables, metrics ──collect──► facts ──views──► sentences, rows ─┐
                     └─gallery──► cards ──────────────────────────┴─template─► index.html

The page loads nothing and runs nothing: style and pictures are inside it, and its Content-Security-Policy allows
exactly that style and no script. Everything from the data is escaped by the template engine. The same inputs give
the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from mer_pipeline.base.atomic import atomic_write
from mer_pipeline.config.project import Project
from mer_pipeline.datasets.adapter import MER_CLASSES
from mer_pipeline.report import modality_maps, views
from mer_pipeline.report.ablation import forests
from mer_pipeline.report.collect import STAGES, Facts, collect
from mer_pipeline.report.gallery import KINDS, Card, gallery
from mer_pipeline.report.sources import footer, parts, sha256
from mer_pipeline.report.trust import trust

GALLERY = 24  # clips
POLICY = "default-src 'none'; img-src data:; style-src '{style}'; base-uri 'none'; form-action 'none'"
LISTED = 60  # rows of a long table that the page shows
METRICS = ("train", "predict", "labels", "pseudo", "ablation")  # that the page shows


@dataclass(frozen=True)
class Input:
    """A file that the page was made from."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Made:
    """What a stage's table says about its own making."""

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
        project: whose page; default: that of the current folder.
        classes: the dataset's classes in order, `dataset.classes` of the params.
        title: the page's.
        clips: how many the gallery shows at most.

    Returns:
        The page's path.

    Raises:
        StageError: an input is missing or is not what the stages write; the page that was there stays.
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
    """The page's HTML."""
    here = files(__package__)
    style = here.joinpath("style.css").read_text(encoding="utf-8")
    engine = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    engine.filters.update(pct=_pct, points=_points, heat=_heat, cap=_capital)
    return engine.from_string(here.joinpath("template.html.jinja").read_text(encoding="utf-8")).render(
        title=title,
        style=Markup(style),  # the one text that is not escaped; it is ours
        policy=POLICY.format(style=_csp_hash(style)),
        facts=facts,
        train=facts.metrics.train,
        predict=facts.metrics.predict,
        pseudo=facts.metrics.pseudo,
        headline=views.headline(facts),
        splits={name: sum(clip.split == name for clip in facts.clips.values()) for name in ("train", "test", "pool")},
        groups=len({clip.group for clip in facts.clips.values()}),
        bases=views.bases(facts),
        heads=views.head_rows(facts),
        remarks=views.remarks(facts),
        single=views.single_tables(facts),
        detail=views.detail(facts),
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


def _csp_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _pct(value: float | None, digits: int = 1) -> str:
    """A fraction as per cent, without the sign; a dash where there is none."""
    return "\N{EN DASH}" if value is None else f"{100 * value:.{digits}f}"


def _points(value: float) -> str:
    """A difference of fractions in points, with its sign."""
    return f"{100 * value:+.1f}".replace("-", "\N{MINUS SIGN}")


def _heat(value: float | None, top: float = 1.0) -> int:
    """One of eleven steps of the heat scale; 0 is nothing at all."""
    share = abs(value or 0.0) / (top or 1.0)
    return 0 if share <= 0 else max(1, min(10, round(10 * share)))


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]
