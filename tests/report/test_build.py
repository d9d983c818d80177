"""The page: complete, escaped, self-contained, honest about what its figures are, and the same every time."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mer_pipeline.base.errors import StageError
from mer_pipeline.config.project import Project
from mer_pipeline.datasets.adapter import MER_CLASSES
from mer_pipeline.datasets.folds import FoldParams, make_folds
from mer_pipeline.metrics.pseudo import PseudoClass, PseudoMetrics, PseudoRound
from mer_pipeline.metrics.train import SearchSummary
from mer_pipeline.report.build import build
from mer_pipeline.report.collect import collect
from mer_pipeline.report.gallery import clips_to_show
from mer_pipeline.tables.quarantine import problem_row, write_problems
from tests.conftest import rows_of

Make = Callable[..., Project]


class Page(HTMLParser):
    """Tags and visible text of a page."""

    def __init__(self, html: str) -> None:
        """Parse at once."""
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the tag."""
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Keep the text, spaces as one."""
        self.words = " ".join(f"{self.words} {data}".split())


def page_of(paths: Project) -> Page:
    """Build and parse."""
    return Page(build(paths).read_text(encoding="utf-8"))


def without_key(path: Path, *keys: str) -> None:
    """A metric file as an older version wrote it."""
    whole = part = json.loads(path.read_text())
    for key in keys[:-1]:
        part = part[key]
    del part[keys[-1]]
    path.write_text(json.dumps(whole))


def test_hostile_words_are_text(project: Make, hostile: str) -> None:
    """A subtitle, an enriched text, an error message and params.yaml with markup in them show as they are."""
    paths = project()
    html = build(paths).read_text(encoding="utf-8")
    page = Page(html)
    assert "<script" not in html
    assert not {"script", "iframe", "object", "b>"} & {tag for tag, _ in page.tags}
    assert page.words.count(hostile) > 3
    assert "<b>not bold</b>" in page.words


def test_clips_that_a_model_left_are_counted_by_reason(project: Make) -> None:
    """Most frequent first."""
    words = page_of(project()).words
    assert "3 clips keep their plain words" in words
    assert "fits: 2 HTTP 503; 1 no JSON" in words


def test_words_that_were_heard_are_marked(project: Make) -> None:
    """On the clip's card, and counted for all clips; a subtitle is not marked."""
    paths = project()
    page = page_of(paths)
    marked = page.words.count("Heard by a recogniser; the dataset has no subtitle of this clip.")
    assert 0 < marked < sum(tag == "blockquote" for tag, _ in page.tags)
    heard = sum(bool(row["heard"]) for row in rows_of(paths.table("transcript")))
    assert f"The words of {heard} clips were heard by a recogniser" in page.words


def test_nothing_is_loaded_from_elsewhere(project: Make) -> None:
    """Every address in the page is a data URI or a place in the page, and the policy forbids all else."""
    html = build(project()).read_text(encoding="utf-8")
    for _, attributes in Page(html).tags:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            assert (attributes.get(name) or "#").startswith(("#", "data:"))
    assert "http:" not in html
    assert "https:" not in html
    assert "url(" not in html
    assert "@import" not in html
    assert "default-src &#39;none&#39;" in html


def test_the_policy_allows_this_style_alone(project: Make) -> None:
    """No inline style attribute and no event handler is left for a policy without 'unsafe-inline' to refuse."""
    page = page_of(project())
    policy = next(a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert "unsafe" not in policy
    assert not [name for _, attributes in page.tags for name in attributes if name == "style" or name.startswith("on")]


def test_headline_is_the_test_score_where_truth_is_known(project: Make) -> None:
    """The submitted predictions' weighted F1, said to be against true labels, with the single-seed mean beside it."""
    words = page_of(project()).words
    assert "75.4 % weighted F1" in words
    assert "24 test candidates whose true label is known" in words
    assert "a single seed scores 73.1 on average" in words
    assert "14.1 points above the best single modality on the same clips: words alone with ecmf, 59.0" in words


def test_headline_without_truth_is_out_of_fold_on_given_labels(project: Make) -> None:
    """Without test truth the figure is cross-validated and said to stand on noisy labels."""
    words = page_of(project(truth=False)).words
    assert "68.4 % weighted F1" in words
    assert "out-of-fold, given labels" in words
    assert "Cross-validated, true labels" not in words
    assert "Rows are the given labels" in words


def test_a_linear_model_that_wins_is_named(project: Make) -> None:
    """logreg above ecmf is said in words, on the basis where it is so."""
    words = page_of(project()).words
    assert (
        "Logistic regression scores higher than the ECMF network: 70.2 against 68.4 on labelled training clips" in words
    )
    assert "5 folds were asked for; the groups of the data allow 4." in words


def test_numbers_of_every_section_are_there(project: Make) -> None:
    """Labels, weights, quarantine and skipped rows with their reasons."""
    words = page_of(project()).words
    assert "3 of 36 training labels were changed (8.3 %)" in words
    assert "3 are right now, 0 were right before" in words
    assert "crowd and listener agree on another label" in words
    assert "where the head looked, not what mattered" in words
    assert "the container is truncated" in words
    assert "no face found" in words
    assert "silent" in words
    assert "no subtitle" in words


def test_pseudo_labels_have_a_table_when_on(project: Make) -> None:
    """Threshold, precision out of fold, quota and what was taken; a class that takes none says why. Off: not a word."""
    paths = project()
    assert "Pseudo-labels" not in page_of(paths).words
    checked = {"checked_support": 38, "checked_precision": 0.9}
    rule = PseudoClass(threshold=0.6543, support=40, precision=0.925, low=0.83, quota=77, taken=31, why=None, **checked)
    none = PseudoClass(
        threshold=None, support=3, precision=0.333, low=0.1, quota=0, taken=0, why="too few <b>", **checked
    )
    rounds = tuple(
        PseudoRound(round=n, taken=31, added=31, withdrawn=0, relabelled=0, classes={"sad": rule, "happy": none})
        for n in (1, 2)
    )
    off = PseudoMetrics(asked={}, pool=0, labelled=0, empty="pseudo.rounds is 0", rounds=(), held_out={}, shares={})
    off.model_copy(update={"pool": 600, "empty": None, "rounds": rounds}).write(paths.metrics("pseudo"))
    words = page_of(paths).words
    assert "31 of 600 clips without a label are taken after 2 rounds" in words
    for word in ("0.65", "92.5", "83.0", "77", "too few <b>"):
        assert word in words
    off.write(paths.metrics("pseudo"))
    assert "Pseudo-labels" not in page_of(paths).words


@pytest.mark.outcome("fewer than two clips of any class, or no labels", "and the report is still made")
def test_empty_head_explains_itself(project: Make) -> None:
    """Without any label there is no score, and the page says why and what to do."""
    page = page_of(project(labels=False, truth=False, quarantine=False))
    assert "There is no head, and so no score. No clip has a label." in page.words
    assert "No clip is in quarantine" in page.words
    assert "weighted F1" not in page.words
    assert [tag for tag, _ in page.tags].count("article") == 24


def test_sound_only(project: Make) -> None:
    """A dataset without pictures has cards with the outline of the sound and no image."""
    page = page_of(project(video=False))
    assert not [tag for tag, _ in page.tags if tag == "img"]
    assert [a for tag, a in page.tags if tag == "svg" and a.get("class") == "sound"]
    assert "66 no picture" in page.words
    assert "frames: no picture" not in page.words


def test_pictures_say_what_they_are_and_stay_small(project: Make) -> None:
    """Each picture has an alternative text; the page stays far below four megabytes."""
    paths = project()
    page = page_of(paths)
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) > 24
    assert all(image["alt"] for image in images)
    assert paths.report.stat().st_size < 2_000_000


def test_same_inputs_same_bytes(project: Make) -> None:
    """The page is a function of its inputs; building it again changes no byte and leaves no other file."""
    paths = project()
    first = build(paths).read_bytes()
    assert build(paths).read_bytes() == first
    assert [file.name for file in paths.report.parent.iterdir()] == ["index.html"]


def test_a_note_of_ingest_is_no_failure(project: Make) -> None:
    """A clip without a file lacks one thing, its file, and copies lack nothing; no clip counts as quarantined."""
    paths = project(quarantine=False)
    ghost = next(clip for clip, lacks in collect(paths, MER_CLASSES).lacking.items() if lacks[0].startswith("faces"))
    told = [(ghost, "NoFile", "clips.csv names this clip"), ("train_0001", "Copies", "copies of one clip")]
    rows = [problem_row(clip, kind, message, "0") for clip, kind, message in told]
    write_problems(paths.quarantine("ingest"), rows)
    facts = collect(paths, MER_CLASSES)
    assert [lack for lack in facts.lacking[ghost] if "subtitle" not in lack] == ["its file: clips.csv names this clip"]
    assert "train_0001" not in facts.lacking
    words = page_of(paths).words
    assert "Quarantined 0" in words
    assert "Notes of ingest Clip Stage" in words
    assert "No clip is in quarantine" in words
    write_problems(paths.quarantine("ingest"), [*rows, problem_row(ghost, "BadInput", "torn", "0")])
    words = page_of(paths).words
    assert "Quarantined 1" in words
    assert "Quarantined clips and notes of ingest Clip" in words


def test_the_gallery_is_a_mix(project: Make) -> None:
    """Wrong, right, changed and odd clips are all among the chosen, none twice."""
    facts = collect(project(), MER_CLASSES)
    chosen = clips_to_show(facts, 12)
    assert len(set(chosen)) == 12
    assert any(facts.labels[clip].changed for clip in chosen if clip in facts.labels)
    assert any(clip in facts.lacking for clip in chosen)


def test_optional_inputs_may_be_absent(project: Make) -> None:
    """The manifest and train.json suffice."""
    paths = project()
    for file in [*paths.data.rglob("*.parquet"), paths.metrics("predict"), paths.params]:
        if file.name != "manifest.parquet":
            file.unlink()
    assert "68.4 % weighted F1" in page_of(paths).words


@pytest.mark.parametrize(
    ("break_it", "sentence"),
    [
        (lambda p: p.metrics("train").unlink(), r"train\.json is missing; make it with"),
        (lambda p: p.metrics("train").write_text("{"), r"train\.json is not what .* \(Invalid JSON"),
        (
            lambda p: without_key(p.metrics("predict"), "test", "selected", "interval"),
            r"predict\.json is not what this version writes \('test\.selected\.interval': Field required\); make it",
        ),
        (
            lambda p: p.metrics("labels").write_text(p.metrics("predict").read_text()),
            r"labels\.json is not what this version writes \(.*\); make it again with `dvc repro labels`",
        ),
        (lambda p: p.manifest.write_bytes(b"no"), r"manifest\.parquet cannot be read as Parquet"),
        (
            lambda p: p.labels.write_bytes(p.truth.read_bytes()),
            "has no column 'held",
        ),
    ],
)
def test_wrong_inputs_are_one_sentence(project: Make, break_it: Callable[[Project], object], sentence: str) -> None:
    """A file that is not what the stages write is a StageError that names it; the old page stays."""
    paths = project()
    before = build(paths).read_bytes()
    break_it(paths)
    with pytest.raises(StageError, match=sentence):
        build(paths)
    assert paths.report.read_bytes() == before


def test_other_classes_than_the_head_was_trained_on(project: Make) -> None:
    """The dataset's classes and the metrics' must be the same, in order."""
    with pytest.raises(StageError, match=r"params\.yaml names sad, happy"):
        build(project(), ("sad", "happy"))


def test_what_predictions_rest_on_stands_beside_the_weights(project: Make) -> None:
    """The mean over the clips that have the modality, by predicted class; a modality that nobody has shows none."""
    words = page_of(project()).words
    _, _, told = words.partition("What the predictions rest on")
    assert "hidden from the ecmf head, over 30 predicted clips" in told[:300]
    for row in ("0.25 0.25", "– –", "-0.50 -0.50", "1.50 1.50"):
        assert row in told[:1200]


def test_what_a_reviewer_would_ask_stands_below_the_result(project: Make) -> None:
    """Above all tables, in whole sentences; a page without a head has none."""
    words = page_of(project()).words
    asked = words.index(
        "A reviewer would ask about this: The class 'worried' has 4 labelled clips: its scores are chance."
    )
    assert words.index("weighted F1") < asked < words.index("Fusion heads")


def test_log_loss_and_baselines_stand_beside_f1(project: Make) -> None:
    """Of each head on each basis, and what is had without looking at a clip."""
    words = page_of(project()).words
    for row in (
        "ecmf Cross-validated, given labels 36 68.4 65.4 66.4 1.316 10.0 0.516",
        "always neutral Cross-validated, given labels 7.3 5.0 16.7 – – –",
        "drawn by the classes' shares Test, true labels 7.3 5.0 16.7 1.790 – 0.830",
    ):
        assert row in words


def test_weights_of_a_combination_are_called_its_heads(project: Make) -> None:
    """Late fusion has a half of the say, and these weights are not its own."""
    paths = project(truth=False)
    train = json.loads(paths.metrics("train").read_text())
    train["heads"]["ecmf+late"] = train["heads"]["ecmf"]
    paths.metrics("train").write_text(json.dumps(train | {"selected": "ecmf+late"}))
    paths.predictions.unlink()
    assert (
        "the ecmf head gave each modality, over 36 training clips, out-of-fold (a half of the selected head, ecmf+late;"
        in (page_of(paths).words)
    )


def test_a_head_without_weights_is_replaced_by_name(project: Make) -> None:
    """Where the selected head has no weights the page shows another's and says so."""
    paths = project(truth=False)
    train = json.loads(paths.metrics("train").read_text())
    paths.metrics("train").write_text(json.dumps(train | {"selected": "logreg"}))
    paths.predictions.unlink()
    words = page_of(paths).words
    assert re.search(
        r"the ecmf head gave each modality, over 36 training clips, out-of-fold \(the selected head, logreg,", words
    )


@pytest.mark.outcome("fewer groups than folds", "and the report says why")
@pytest.mark.outcome("all clips of one group", "and the report says that the score tells nothing about new speakers")
@pytest.mark.outcome("one group with most of the clips", "the report name it")
@pytest.mark.parametrize(
    ("groups", "says"),
    [
        ([0] * 12, "the scores say nothing about others"),
        ([at % 3 for at in range(12)], "3 folds instead of 5: there are 3 groups"),
        ([*range(4), *[0] * 20], "group 's0' has 21 of the 24 labelled clips"),
    ],
)
def test_what_is_special_about_the_folds_is_said(project: Make, groups: list[int], says: str) -> None:
    """All clips of one speaker, or of few: a reader must know before believing a score."""
    paths = project()
    place = paths.metrics("train")
    note = make_folds([(f"c{at}", "sad", f"s{group}") for at, group in enumerate(groups)], FoldParams(n=5)).note
    assert says in note
    place.write_text(json.dumps({**json.loads(place.read_text()), "folds_note": note}))
    assert note in page_of(paths).words


def test_what_a_search_would_have_claimed_is_said(project: Make) -> None:
    """Nested and un-nested score; without a search there is no word of it."""
    paths = project()
    place = paths.metrics("train")
    train = json.loads(place.read_text())
    assert "trials" not in page_of(paths).words
    found = SearchSummary(
        trials=16, nested=0.581, unnested=0.6034, optimism=0.0224, as_they_stand=0.57, chosen=({"lr": 0.01},) * 4
    )
    train["heads"]["ecmf"]["search"] = found.plain()
    place.write_text(json.dumps(train))
    words = page_of(paths).words
    assert (
        "Settings of ecmf are the best of 16 trials for each fold, chosen without that fold: 58.1 out of fold" in words
    )
    assert (
        "the best of 16 on all folds, shows 60.3, which is 2.2 points too good; params as they stand show 57.0" in words
    )
    assert "Settings of logreg" not in words
    train["heads"]["ecmf"]["search"] |= {"unnested": 0.571, "optimism": -0.01}
    place.write_text(json.dumps({**train, "search_note": "2 folds are too few"}))
    words = page_of(paths).words
    assert "shows 57.1, no more than the nested one; params" in words
    assert "No settings were searched for: 2 folds are too few." in words


def test_sources_of_labels_can_be_judged(project: Make, hostile: str) -> None:
    """Each source apart from its family with an interval, the dataset's own first; kappa of families; warnings."""
    words = page_of(project()).words
    assert "given human 82.8 74.8 to 88.9 36 crowd crowd 78.1 70.3 to 86.6 30 listener crowd – – 0" in words
    assert "human crowd human 0.59 30 crowd 0.59 30" in words
    assert f"The sources of one family 'crowd' and '{hostile}' agree on 99% of 30 clips." in words


def test_suspect_labels_lead_to_their_clips(project: Make) -> None:
    """Those that confident learning doubts are listed, with a link where the gallery has the clip."""
    paths = project()
    page = page_of(paths)
    facts = collect(paths, MER_CLASSES)
    suspects = [row for row in facts.labels.values() if row.suspect]
    assert len(suspects) > 2
    assert all(f"{row.clip_id} {row.given} {row.suspect} {row.label}" in page.words for row in suspects)
    links = {a["href"] for tag, a in page.tags if tag == "a" and str(a["href"]).startswith("#card-")}
    ids = [f"#{a['id']}" for tag, a in page.tags if tag == "article"]
    shown = clips_to_show(facts, 24)
    assert links == {ids[shown.index(row.clip_id)] for row in suspects if row.clip_id in shown} != set()


def test_without_the_labels_stage_nothing_is_said_of_sources(project: Make) -> None:
    """An older project has no such file."""
    paths = project()
    paths.metrics("labels").unlink()
    assert "as all of them together judge it" not in page_of(paths).words


def test_intervals_stand_beside_scores(project: Make) -> None:
    """In the headline and the heads' table; over how many groups, and that three are too few."""
    words = page_of(project()).words
    assert "95 % interval 68.4 to 81.4, from 3 groups" in words
    assert "73.1 ± 2.0 [66.1, 79.1]" in words
    assert "68.4 ± 2.0 [61.4, 74.4]" in words
    assert "Test, true labels: the intervals are over 3 groups, too few" in words
    assert "given labels: the intervals are over" not in words
    assert "Brackets, and the line across a bar, hold the middle 95 %" in words


def test_intervals_over_clips_are_said_to_be(project: Make) -> None:
    """Without groups the reader knows what was drawn."""
    paths = project(truth=False)
    place = paths.metrics("train")
    text = place.read_text()
    place.write_text(text.replace('"over": "groups"', '"over": "clips"'))
    assert "no groups were drawn for the intervals, but clips" in page_of(paths).words


def test_calibration_is_drawn(project: Make) -> None:
    """A dot per bin with clips, before and after, at its confidence and share right; and the figures in a table.

    The last dot is of another picture: what refinement believed of the training labels.
    """
    page = page_of(project())
    *dots, posterior = [a for tag, a in page.tags if tag == "circle"]
    assert [dot["class"] for dot in dots] == ["before"] * 2 + ["after"] * 2
    assert [(dot["cx"], dot["cy"]) for dot in dots[2:]] == [("180.0", "228.0"), ("340.0", "68.0")]
    assert (posterior["cx"], posterior["cy"]) == ("340.0", "40.0")
    assert "as the head says them 15.0 1.300 0.700 tempered 2.3 0.900 0.500 if it were calibrated 6.1" in page.words
    assert "their log-probabilities are divided by 1.62" in page.words
    assert "24 test candidates, compared with their true labels, by how sure it is" in page.words
    assert "Given labels are noisy, so a head" not in page.words


def test_calibration_without_truth_is_out_of_fold(project: Make) -> None:
    """Then it stands on the given labels, and that is said."""
    words = page_of(project(truth=False)).words
    assert "36 labelled training clips out-of-fold, compared with the given labels, by how sure" in words
    assert "Given labels are noisy, so a head that is calibrated against them" in words


def test_tempering_that_harms_is_said_to(project: Make) -> None:
    """A temperature from noisy labels can take the probabilities away from the truth; a reader is told."""
    paths = project()
    assert "Here tempering made it worse" not in page_of(paths).words
    place = paths.metrics("predict")
    place.write_text(place.read_text().replace('"ece_tempered": 0.023', '"ece_tempered": 0.2'))
    assert "Here tempering made it worse: against noisy given labels" in page_of(paths).words
