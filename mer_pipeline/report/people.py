"""A page that shows who is seen in clips and who was taken for the speaker: people, cuts, mouths and sound over time.

    tracks, faces, audio ──views──► one view per clip ──template──► page

For each person there are the crops at their times, and below them how much the mouth moves (line) beside how loud the
sound is (area), and how much speaks for the person as the speaker over time (bars). Like the report, the page loads no
other file and runs no script.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from mer_pipeline.base.atomic import atomic_write
from mer_pipeline.base.clips import Row
from mer_pipeline.base.errors import UsageError, did_you_mean
from mer_pipeline.config.project import Project
from mer_pipeline.media.sound import SAMPLE_RATE
from mer_pipeline.report.build import POLICY, csp_hash
from mer_pipeline.report.pictures import thumbnail
from mer_pipeline.report.sources import parts, read_rows, rows_of
from mer_pipeline.vision.speaker import course, evidence, loudness, talking
from mer_pipeline.vision.tracks import Person

Floats = npt.NDArray[np.float32]

WIDTH, HEIGHT = 1000, 60  # of a plot, in the units of its SVG
SIDE = 72  # pixels of a crop
MOST = 12  # crops of one person that are shown
STEP = 0.02  # seconds between the points at which loudness is drawn
TALK = 1.5  # the highest mouth motion that is drawn, as `talking` measures it
SCORE = 6.0  # the highest score that is drawn, in log-odds


@dataclass(frozen=True)
class Crop:
    """A crop of a face: its data URI, and where it is in the clip, from 0 to 1."""

    uri: str
    at: float


@dataclass(frozen=True)
class Shown:
    """One person of a clip.

    Attributes:
        name: what the person is called on the page.
        chosen: whether this is the primary face.
        said: the figures of the evidence, in words.
        crops: in the order of time.
        talk: the `d` of an SVG path: the mouth's motion.
        scores: left, top, width and height of a bar for each moment at which the score is known.
    """

    name: str
    chosen: bool
    said: str
    crops: tuple[Crop, ...]
    talk: str
    scores: tuple[tuple[float, float, float, float], ...]


@dataclass(frozen=True)
class View:
    """A clip.

    Attributes:
        name: of the clip.
        said: who was chosen, in a sentence.
        seconds: how long it is.
        cuts: where a shot ends, from 0 to 1.
        voice: the `d` of an SVG path: the loudness.
        people: in the order in which they are first seen.
    """

    name: str
    said: str
    seconds: float
    cuts: tuple[float, ...]
    voice: str
    people: tuple[Shown, ...]


def view_of(
    name: str, row: Row, sound: Floats | None, chosen: int | None, said: str, names: Sequence[str] = ()
) -> View:
    """Draw one clip.

    Args:
        name: of the clip.
        row: of the table `tracks`.
        sound: (samples,) float32 at 16 kHz; None if there is none.
        chosen: which person is the primary one; None: nobody.
        said: a sentence on that.
        names: what the people are called; "person 1" and so on where they are not named.
    """
    rows: Sequence[Row] = row["people"]  # type: ignore[assignment]  # typed by FollowFaces.schema, as are the others
    cuts: Sequence[float] = row["cuts"]  # type: ignore[assignment]
    people = [Person.of(person) for person in rows]
    moments = [float(time) for person in people for time in (*person.row["times"], *person.motion.times)]  # type: ignore[misc]
    seconds = max([*moments, *cuts, 0.0 if sound is None else len(sound) / SAMPLE_RATE, 1e-3])
    shown = []
    for at, (person, found) in enumerate(zip(people, evidence(people, sound), strict=True)):
        figures = (
            f"score {found.score:+.1f}: activity {found.activity:.2f}, agreement {found.agreement:.2f}, "
            f"opening {found.opening:.2f}, seen {person.shown:.0%} of the time, {100 * person.side:.0f} % of the width"
        )
        who = names[at] if at < len(names) else f"person {at + 1}"
        shown.append(Shown(who, at == chosen, figures, *_drawn(name, person, sound, seconds)))
    return View(name, said, seconds, tuple(cut / seconds for cut in cuts), _voice(sound, seconds), tuple(shown))


def _drawn(
    name: str, person: Person, sound: Floats | None, seconds: float
) -> tuple[tuple[Crop, ...], str, tuple[tuple[float, float, float, float], ...]]:
    crops: Sequence[bytes] = person.row["crops"]  # type: ignore[assignment]
    times: Sequence[float] = person.row["times"]  # type: ignore[assignment]
    picked = sorted({round(at) for at in np.linspace(0, len(crops) - 1, min(MOST, len(crops)))}) if crops else []
    pictures = tuple(Crop(thumbnail(crops[at], SIDE, f"a face of {name}"), times[at] / seconds) for at in picked)
    motion = person.motion
    talk = talking(motion) if len(motion.times) > 2 else np.zeros(0)
    points = list(zip(WIDTH * motion.times / seconds, HEIGHT * (1 - np.clip(talk / TALK, 0, 1)), strict=False))
    bars = []
    for start, stop, score in course(motion, sound):
        height = HEIGHT / 2 * min(1.0, abs(score) / SCORE)
        top = HEIGHT / 2 - (height if score > 0 else 0)
        bars.append((WIDTH * start / seconds, top, WIDTH * (stop - start) / seconds, height))
    return pictures, _path(points), tuple(bars)


def _voice(sound: Floats | None, seconds: float) -> str:
    if sound is None or not len(sound):
        return ""
    times = np.arange(0, len(sound) / SAMPLE_RATE, STEP)
    level = HEIGHT * (1 - loudness(sound, times))
    points = [(0.0, float(HEIGHT)), *zip(WIDTH * times / seconds, level, strict=True)]
    return f"{_path(points)}V{HEIGHT}Z"


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) if points else ""


def page_of(views: Sequence[View], title: str) -> str:
    """Return the HTML of a page with some clips."""
    here = files(__package__)
    style = "".join(here.joinpath(name).read_text(encoding="utf-8") for name in ("style.css", "people.css"))
    engine = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = engine.from_string(here.joinpath("people.html.jinja").read_text(encoding="utf-8"))
    return template.render(
        title=title,
        style=Markup(style),  # the only text that is not escaped; it is part of this package
        policy=POLICY.format(style=csp_hash(style)),
        views=views,
        width=WIDTH,
        height=HEIGHT,
        side=SIDE,
    )


def show_people(clips: Sequence[str], most: int, out: Path | None, project: Project) -> str:
    """Write a page about some clips of a project, and return a sentence about it.

    Args:
        clips: their names; none: those with several people, the least sure choices first.
        most: how many clips are shown, where none is named.
        out: the file to write; None: `Project.people`.
        project: with the tables `tracks`, `faces` and `audio`.

    Raises:
        UsageError: the table `tracks` has no row of a clip that is named, or there is nothing to show.
        StageError: a table has not the form that the stages write.
    """
    sure = {
        str(row["clip_id"]): row
        for row in read_rows(project.table("faces"), ["clip_id", "valid", "reason", "speaker_confidence"])
    }
    names = list(clips) or _unsure(project, sure)[:most]
    tracks = rows_of(project.table("tracks"), names, ["cuts", "people"])
    for name in names:
        if name not in tracks:
            raise UsageError(f"data/tracks has no faces of a clip '{name}'{did_you_mean(name, list(sure))}")
    if not names:
        raise UsageError("data/tracks has no clip with several people; name the clips to look at")
    sounds = rows_of(project.table("audio"), names, ["pcm"])
    boxes = rows_of(project.table("faces"), names, ["frame_index", "boxes"])
    views = []
    for name in names:
        sound = None
        if name in sounds:
            sound = np.frombuffer(sounds[name]["pcm"], "<i2").astype(np.float32) / np.float32(2**15)  # type: ignore[call-overload]
        views.append(view_of(name, tracks[name], sound, *_choice(tracks[name], boxes.get(name), sure[name])))
    out = out or project.people
    atomic_write(out, page_of(views, "Who is seen, and who speaks"))
    return f"{out}: {len(views)} clips"


def _unsure(project: Project, sure: dict[str, Row]) -> list[str]:
    """Clips with several people; those whose primary face is the least sure come first."""
    several = []
    for part in parts(project.table("tracks")):
        table = pq.ParquetFile(part).read(["clip_id", "people.list.element.shown"])  # without the pictures
        several += [row["clip_id"] for row in table.to_pylist() if len(row["people"] or ()) > 1]
    return sorted(several, key=lambda name: (sure[name]["speaker_confidence"] or 0.0, name))


def _choice(tracks: Row, faces: Row | None, sure: Row) -> tuple[int | None, str]:
    """Which person the table `faces` has, and a sentence on it."""
    if faces is None:
        return None, f"no primary face: {sure['reason']}"
    people: Sequence[Row] = tracks["people"]  # type: ignore[assignment]
    at = next(at for at, person in enumerate(people) if person["boxes"] == faces["boxes"])
    speaks = sure["speaker_confidence"]
    return at, f"person {at + 1} is the primary one; the confidence that this person speaks is {speaks:.2f}"
