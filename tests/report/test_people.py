"""The page of the people in clips: who is marked, which clips come first, and that it is as closed as the report."""

from __future__ import annotations

import io
import re
from html import unescape
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from mer_pipeline.base.clips import Row
from mer_pipeline.base.errors import Skip, UsageError
from mer_pipeline.config.project import Project
from mer_pipeline.media.sound import SAMPLE_RATE
from mer_pipeline.report.people import show_people
from mer_pipeline.speech.track import ExtractAudio
from mer_pipeline.tables.rows import complete_row, stage_schema
from mer_pipeline.tables.shards import write_shard
from mer_pipeline.vision.detector import PrimaryParams
from mer_pipeline.vision.faces import ChooseFace
from mer_pipeline.vision.mouth import FREQUENCIES
from mer_pipeline.vision.tracks import FollowFaces
from tests.conftest import clip, valid

TIMES = np.arange(0.04, 2.0, 0.08)
VOICE = np.repeat([0, 1, 1, 0, 1, 0, 1, 1, 0, 1], SAMPLE_RATE // 5)
PCM = (6000 * np.sin(np.arange(len(VOICE))) * VOICE).astype("<i2").tobytes()
MOVES = np.interp(TIMES, (np.arange(10) + 0.5) / 5, [0, 1, 1, 0, 1, 0, 1, 1, 0, 1])


def person(mouth: np.ndarray, left: float, level: int) -> Row:
    """Somebody in five pictures, in grey of that level."""
    out = io.BytesIO()
    Image.new("RGB", (16, 16), (level, level, level)).save(out, "JPEG")
    moments = [0.2, 0.6, 1.0, 1.4, 1.8]
    return {
        "frame_index": [0, 1, 2, 3, 4],
        "times": moments,
        "crops": [out.getvalue()] * 5,
        "boxes": [[left, 0, left + 50, 50]] * 5,
        "landmarks": [[0.0] * 10] * 5,
        "scores": [0.99] * 5,
        "shown": 1.0,
        "side": 0.2,
        "sharpness": 0.1,
        "motion_times": TIMES,
        "mouth": 0.02 + 0.06 * mouth,
        "upper": np.full(len(TIMES), 0.02),
        "mouth_shape": [[float(move)] * FREQUENCIES**2 for move in mouth],
    }


TALKS, STILL, HALF = person(MOVES, 0, 60), person(0 * MOVES, 100, 120), person(0.3 + 0 * MOVES, 200, 180)
PEOPLE = {"alone": [TALKS], "sure": [STILL, TALKS], "unsure": [STILL, HALF], "nobody": [STILL]}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Four clips in one shard: their people, sound and primary faces as the steps make them."""
    made = Project(tmp_path)
    rows: dict[str, list[Row]] = {"tracks": [], "audio": [], "faces": []}
    for name, people in sorted(PEOPLE.items()):
        tracks = {"frames": 5, "cuts": [1.1], "people": people, "candidates": []}
        faces = ChooseFace(PrimaryParams()).prepare(clip(tracks=valid(**tracks), audio=valid(pcm=PCM)))
        values: dict[str, Row | Skip] = {
            "tracks": tracks,
            "audio": {**dict.fromkeys(ExtractAudio.schema.names), "pcm": PCM},
            "faces": faces,
        }
        for table, value in values.items():
            kept, reason = (None, str(value)) if isinstance(value, Skip) else (value, None)
            rows[table].append(complete_row(name, "0", kept, reason, SCHEMAS[table]))
    for table, members in rows.items():
        write_shard(made.table(table), 0, members, stage_schema(SCHEMAS[table]), {})
    return made


SCHEMAS: dict[str, pa.Schema] = {
    "tracks": FollowFaces.schema,
    "audio": ExtractAudio.schema,
    "faces": ChooseFace.schema,
}


def headings(out: Path) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", out.read_text(encoding="utf-8"))


def test_the_least_sure_of_several_people_come_first(project: Project, tmp_path: Path) -> None:
    """Clips with one person are shown only where they are named."""
    out = tmp_path / "report/people.html"
    assert show_people((), 24, out, project) == f"{out}: 2 clips"
    assert headings(out) == ["unsure", "sure"]
    show_people((), 1, out, project)
    assert headings(out) == ["unsure"]
    show_people(("alone", "sure"), 1, out, project)
    assert headings(out) == ["alone", "sure"]


def test_the_primary_person_is_marked(project: Project, tmp_path: Path) -> None:
    """And where there is none, the reason is said."""
    out = tmp_path / "people.html"
    show_people(("sure",), 1, out, project)
    text = out.read_text(encoding="utf-8")
    assert re.findall(r"<h3>(.*?)</h3>", text) == ["person 1", "person 2: primary"]
    assert text.count('class="person chosen"') == 1
    assert "1 cut, 2 people; person 2 is the primary one; the confidence that this person speaks is" in text
    show_people(("nobody",), 1, out, project)
    text = out.read_text(encoding="utf-8")
    assert "no primary face: unsure whose face it is (faces.min_confidence)" in text
    assert 'class="person chosen"' not in text


def test_it_loads_nothing_and_runs_nothing(project: Project, tmp_path: Path) -> None:
    """Pictures are inside, and the policy forbids all else; the score over time is drawn."""
    out = tmp_path / "people.html"
    show_people(("sure",), 1, out, project)
    text = out.read_text(encoding="utf-8")
    assert "<script" not in text
    assert "style=" not in text
    assert set(re.findall(r'(?:src|href)="([a-z]+:)', text)) == {"data:"}
    assert "default-src 'none'" in unescape(text)
    assert text.count('class="score"') > 2
    assert text.count('class="cut"') == 2


def test_a_name_that_is_not_there(project: Project, tmp_path: Path) -> None:
    """The nearest one is named."""
    with pytest.raises(UsageError, match=r"no faces of a clip 'sur' \(did you mean 'sure'\?\)"):
        show_people(("sur",), 1, tmp_path / "x.html", project)
