import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from mer_pipeline.base.errors import DatasetError
from mer_pipeline.datasets.adapter import DatasetParams
from mer_pipeline.datasets.folder import ColumnParams, FolderParams
from mer_pipeline.datasets.ingest import list_dataset


def gen(root: Path, files: dict[str, str | bytes]) -> Path:
    """Write a tree of files."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


MER = {
    "video/a_1.mp4": b"",
    "video/a_2.mp4": b"",
    "video/b_1.mp4": b"",
    "audio/a_1.wav": b"",
    "track1_train_disdim.csv": "name,discrete,valence\na_1,happy,1\n",
    "track_all_candidates.csv": "name\na_2\n",
    "subtitle_chieng.csv": "name,chinese,english\na_1,你好,hello\na_2,NaN,\n",
}


def mer(root: Path, **changes: str | None) -> DatasetParams:
    files = {**MER, **{key.replace("__", "/").replace("_csv", ".csv"): value for key, value in changes.items()}}
    gen(root, {name: content for name, content in files.items() if content is not None})
    return DatasetParams(root=str(root), csv=str(root), adapter="mer2025", group_pattern="^([a-z])_")


def test_mer_layout(tmp_path: Path) -> None:
    """Files, labels, candidates, subtitles and groups are joined by name."""
    entries = list_dataset(mer(tmp_path)).entries
    a = entries["a_1"]
    assert (a.split, a.label, a.zh, a.en, a.group) == ("train", "happy", "你好", "hello", "a")
    assert (a.video, a.audio) == ("video/a_1.mp4", "audio/a_1.wav")
    assert (entries["a_2"].split, entries["a_2"].zh, entries["a_2"].label) == ("test", None, None)
    assert (entries["b_1"].split, entries["b_1"].group) == ("pool", "b")


def test_the_given_label_is_a_vote(tmp_path: Path) -> None:
    """Votes are in long form, the given label the human one."""
    votes = list_dataset(mer(tmp_path)).votes
    assert [(v.clip_id, v.source, v.family, v.label) for v in votes] == [("a_1", "given", "human", "happy")]


def test_mer2026_file_names(tmp_path: Path) -> None:
    """The later release differs in two names."""
    files = {**MER, "track1_train.csv": "name,discrete\na_1,sad\n", "track1_track2_candidate.csv": "name\na_2\n"}
    gen(tmp_path, {k: v for k, v in files.items() if k not in {"track1_train_disdim.csv", "track_all_candidates.csv"}})
    entries = list_dataset(DatasetParams(root=str(tmp_path), csv=str(tmp_path), adapter="mer2026")).entries
    assert (entries["a_1"].label, entries["a_2"].split) == ("sad", "test")


def test_what_does_not_match_is_noted_and_stops_nothing(tmp_path: Path) -> None:
    """A subtitle without a clip is a note; a named clip without a file is a clip with a note."""
    listing = list_dataset(
        mer(
            tmp_path,
            subtitle_chieng_csv="name,chinese,english\nghost,x,y\n",
            track_all_candidates_csv="name\na_2\nnofile\n",
        )
    )
    assert [(note.clip_id, note.kind) for note in listing.notes] == [("nofile", "NoFile"), ("ghost", "NoClip")]
    assert listing.entries["nofile"].split == "test"
    assert "ghost" not in listing.entries


def test_names_are_compared_in_one_form(tmp_path: Path) -> None:
    """A name with an accent matches whether the file system composed it or not."""
    gen(tmp_path, {"video/cafe\u0301.mp4": b""})
    listing = list_dataset(mer(tmp_path, track_all_candidates_csv="name\ncaf\u00e9\n"))
    assert listing.entries["caf\u00e9"].video is not None
    assert not listing.notes


def test_a_byte_order_mark_is_no_part_of_a_column(tmp_path: Path) -> None:
    """CSVs saved by spreadsheet programs begin with one."""
    entries = list_dataset(mer(tmp_path, track1_train_disdim_csv="\ufeffname,discrete\na_1,sad\n")).entries
    assert entries["a_1"].label == "sad"


def test_truth_and_votes(tmp_path: Path) -> None:
    """Truth is kept apart; further annotators' votes come after the given one."""
    params = mer(
        tmp_path, truth_csv="name,discrete\na_1,sad\n", votes_csv="name,source,family,label\na_1,crowd,crowd,sad\n"
    )
    listing = list_dataset(params.model_copy(update={"truth": ("truth.csv",), "votes": "votes.csv"}))
    assert listing.truth == {"a_1": "sad"}
    assert [v.source for v in listing.votes] == ["given", "crowd"]
    assert listing.entries["a_1"].label == "happy"


@pytest.mark.outcome("a label that is no class", "the nearest class.")
@pytest.mark.outcome("a name twice", "the name")
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"track1_train_disdim_csv": "name,discrete\na_1,hapy\n"}, "unknown label 'hapy' (did you mean 'happy'?)"),
        ({"track1_train_disdim_csv": "names,discrete\na_1,sad\n"}, "no column 'name' (did you mean 'names'?)"),
        ({"track1_train_disdim_csv": "name,discrete\na_1,sad\na_1,sad\n"}, "'a_1' stands there twice"),
        ({"track_all_candidates_csv": "name\na_1\n"}, "is in both"),
        ({"subtitle_chieng_csv": b"name,chinese,english\na_1,\xff\xfe,x\n"}, "is not UTF-8"),
        ({"video__a_1.avi": b""}, "two files are called 'a_1'"),
        ({"track1_train_disdim_csv": None, "track_all_candidates_csv": None}, "another release?"),
    ],
)  # fmt: skip
def test_a_wrong_mer_folder_is_one_sentence(tmp_path: Path, changes: dict[str, str | None], says: str) -> None:
    """What, where and how to mend it, before any work."""
    with pytest.raises(DatasetError, match=re.escape(says)) as caught:
        list_dataset(mer(tmp_path, **changes))
    assert caught.value.exit_code == 2


@pytest.mark.outcome("a missing folder, CSV or column", "which one")
def test_a_missing_folder_is_one_sentence(tmp_path: Path) -> None:
    """The path that was looked for, and which key it is."""
    with pytest.raises(DatasetError, match=r"no folder .*none \(dataset.root\)"):
        list_dataset(FolderParams(root=str(tmp_path / "none"), csv="x"))
    with pytest.raises(DatasetError, match="neither video/ nor audio/ nor openface_face/"):
        list_dataset(DatasetParams(root=str(tmp_path), csv=str(tmp_path)))


def folder(root: Path, csv: str | None, files: tuple[str, ...], **columns: str) -> FolderParams:
    gen(root, dict.fromkeys(files, ""))
    if csv is not None:
        gen(root, {"clips.csv": csv})
    place = root / "clips.csv" if csv is not None else root
    return FolderParams(adapter="folder", root=str(root), csv=str(place), columns=ColumnParams(**columns))


def test_folder_pairs_video_and_audio(tmp_path: Path) -> None:
    """Files in video/ and audio/ are named from there; others by their path."""
    entries = list_dataset(
        folder(tmp_path, None, ("video/a.avi", "audio/a.flac", "more/b.MP4", "c.wav", ".x/d.mp4"))
    ).entries
    assert sorted(entries) == ["a", "c", "more/b"]
    assert (entries["a"].video, entries["a"].audio) == ("video/a.avi", "audio/a.flac")
    assert (entries["c"].video, entries["c"].audio) == (None, "c.wav")
    assert {entry.split for entry in entries.values()} == {"pool"}


def test_folder_csv(tmp_path: Path) -> None:
    """Columns by the params' names; splits follow from labels; numbers are read."""
    csv = "file,emotion,speaker,split,transcript,duration\na.mp4,sad,1,,Guten Tag,3.6\nsub/b,,2,,你好,\n"
    csv += "c,happy,1,test,,\n"
    params = folder(tmp_path, csv, ("a.mp4", "sub/b.mp4", "c.mp4"), name="file", label="emotion", group="speaker")
    listing = list_dataset(params)
    a, b, c = (listing.entries[name] for name in ("a", "sub/b", "c"))
    assert (a.split, a.label, a.group, a.en, a.duration) == ("train", "sad", "1", "Guten Tag", 3.6)
    assert (b.split, b.zh) == ("pool", "你好")
    assert (c.split, c.label, listing.truth) == ("test", None, {"c": "happy"})


@pytest.mark.parametrize(
    ("csv", "says"),
    [
        ("name,split\na,trian\n", "unknown split 'trian' (did you mean 'train'?)"),
        ("name,split\na,train\n", "a training clip needs a label"),
        ("name,fps\na,fast\n", "fps must be a positive number, not 'fast'"),
        ("name,duration\na,-1\n", "duration must be a positive number"),
        ("name\na\na.mp4\n", "'a.mp4' and 'a' are the same clip"),
        ("clip\na\n", "no column 'name'"),
        ("name,label\nb,sad\n", "none of its names is a file below"),
        ("name,label,label\na,sad,happy\n", "two columns are called 'label'"),
        ("name,label\na,sad,happy\n", "more cells than columns"),
        ("name,label\n,sad\n", "a name is empty"),
        ('name,label\n"a,sad\n', "is not a readable CSV"),
        ("", "is empty"),
    ],
)
def test_a_wrong_folder_csv_is_one_sentence(tmp_path: Path, csv: str, says: str) -> None:
    """As for MER folders."""
    with pytest.raises(DatasetError, match=re.escape(says)):
        list_dataset(folder(tmp_path, csv, ("a.mp4",)))


@pytest.mark.outcome("a missing folder, CSV or column", "which one, and what looks like it.")
def test_a_column_that_params_name_must_be_there(tmp_path: Path) -> None:
    """A misspelled speaker column would otherwise make every clip its own group, and every score flatter."""
    with pytest.raises(DatasetError, match=re.escape("no column 'spekaer' (did you mean 'speaker'?)")):
        list_dataset(folder(tmp_path, "name,speaker\na,7\n", ("a.mp4",), group="spekaer"))


def test_odd_entries_of_a_folder(tmp_path: Path) -> None:
    """A folder or a pipe with a media name is no clip; a link in a circle leads nowhere."""
    (tmp_path / "x.mp4").mkdir()
    os.mkfifo(tmp_path / "pipe.mp4")
    gen(tmp_path / "data", {"a.mp4": b""})
    (tmp_path / "data/circle").symlink_to(tmp_path / "data")
    (tmp_path / "data/gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    params = FolderParams(adapter="folder", root=str(tmp_path / "data"), csv=str(tmp_path / "data"))
    assert sorted(list_dataset(params).entries) == ["a", "gone"]


def test_a_linked_folder_is_refused(tmp_path: Path) -> None:
    """DVC does not look behind it: a clip that is replaced there would never be noticed."""
    gen(tmp_path / "elsewhere", {"s1/b.mp4": b""})
    gen(tmp_path / "data", {"a.mp4": b""})
    (tmp_path / "data/linked").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DatasetError, match=r"linked is a linked folder.*dataset\.root"):
        list_dataset(FolderParams(adapter="folder", root=str(tmp_path / "data"), csv=str(tmp_path / "data")))


@pytest.mark.parametrize("name", ["../votes.csv", "/srv/votes.csv"])
def test_votes_and_truth_lie_below_the_root(name: str) -> None:
    """Elsewhere DVC would not see that they change."""
    with pytest.raises(ValueError, match=r"must lie below dataset\.root"):
        DatasetParams(root="x", csv="x", votes=name)
    with pytest.raises(ValueError, match=r"must lie below dataset\.root"):
        DatasetParams(root="x", csv="x", truth=(name,))


def test_a_name_that_is_not_utf8_is_one_sentence(tmp_path: Path) -> None:
    """Archives from other systems leave such names."""
    (tmp_path / "a.mp4").write_bytes(b"")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.mp4")).write_bytes(b"")
    with pytest.raises(DatasetError, match="is not UTF-8; rename it"):
        list_dataset(FolderParams(adapter="folder", root=str(tmp_path), csv=str(tmp_path)))


def test_a_vote_may_not_pass_for_the_given_label(tmp_path: Path) -> None:
    """The source `given` is the dataset's own."""
    params = mer(tmp_path, votes_csv="name,source,family,label\na_1,given,crowd,sad\n")
    with pytest.raises(DatasetError, match="other than 'given'"):
        list_dataset(params.model_copy(update={"votes": "votes.csv"}))


@pytest.mark.outcome("a folder without clips", "the suffixes that are looked for")
def test_an_empty_folder_says_what_was_looked_for(tmp_path: Path) -> None:
    """No media: the suffixes that count."""
    with pytest.raises(DatasetError, match=r"no media below .*\.mp4") as caught:
        list_dataset(folder(tmp_path, None, ("readme.txt",)))
    assert caught.value.exit_code == 2


@pytest.mark.outcome(
    "film or sound in a container that is not read (`.flv`, `.wmv`, `.mts`, `.amr`, …)",
    "no clip",
    "and so does the note on a CSV's name whose file is one",
)
def test_files_of_other_kinds_are_mentioned(tmp_path: Path) -> None:
    """By number, with what to do; a CSV's name whose file is one of them says so; 3GP is read."""
    files = ("a.mp4", "b.FLV", "sub/c.wmv", "d.3gp", "e.mts", ".hidden.flv", "f.amr")
    listing = list_dataset(folder(tmp_path, "name,label\na,sad\nb.flv,happy\nsub/c,sad\nd.3gp,sad\n", files))
    assert sorted(listing.entries) == ["a", "b", "d", "sub/c"]
    assert listing.entries["d"].video == "d.3gp"
    notes = {(note.clip_id, note.kind): note.message for note in listing.notes}
    mend = "convert such files, as with `ffmpeg -i 'b.FLV' 'b.mp4'`"
    assert notes["b", "NoFile"] == (
        f"clips.csv names this clip and its file b.FLV is of a kind that is not read: {mend}"
    )
    assert "sub/c.wmv is of a kind" in notes["sub/c", "NoFile"]
    assert notes["b", "NotRead"] == f"4 files of other kinds (1 .amr, 1 .flv, 1 .mts, 1 .wmv) are not read: {mend}"
    with pytest.raises(
        DatasetError, match=r"no media below .*; 1 files of other kinds \(1 \.flv\) are not read: convert"
    ):
        list_dataset(folder(tmp_path / "2", None, ("b.flv",)))
    with pytest.raises(DatasetError, match=r"none of its names .*: it says 'b', and its file b\.flv is of a kind"):
        list_dataset(folder(tmp_path / "3", "name,label\nb,sad\n", ("a.mp4", "b.flv")))


@pytest.mark.outcome("a label that is no class", "An empty cell is no label, and the word `none` is one")
def test_a_class_may_be_called_like_nothing(tmp_path: Path) -> None:
    """The label column decides: such clips are labelled; words that say "None" are words, a speaker is not."""
    csv = "name,label,group,transcript,fps\na,none,None,None,none\nb,NA,null,NaN,\nc,,,,\n"
    params = folder(tmp_path, csv, ("a.mp4", "b.mp4", "c.mp4"))
    entries = list_dataset(params.model_copy(update={"classes": ("none", "NA")})).entries
    assert [(e.split, e.label, e.group, e.en) for e in entries.values()] == [
        ("train", "none", "a", "None"),
        ("train", "NA", "b", None),
        ("pool", None, "c", None),
    ]
    with pytest.raises(DatasetError, match=r"'a': unknown label 'none'.*leave the cell empty where there is no label"):
        list_dataset(params)


def test_names_in_a_csv_cannot_leave_the_folder(tmp_path: Path, make_film: Callable[..., Path]) -> None:
    """`../` in a CSV names no file: names are only looked up among those that are there."""
    make_film("secret.mp4")
    inside = tmp_path / "data"
    listing = list_dataset(folder(inside, "name\na\n../secret\n/etc/passwd\n", ("a.mp4",)))
    assert listing.entries["../secret"].video is None
    assert [note.kind for note in listing.notes] == ["NoFile", "NoFile"]


def test_without_media_the_csv_says_which_clips_there_are(tmp_path: Path) -> None:
    """For features from elsewhere, or words alone: no file is looked for, and none is missed."""
    params = folder(tmp_path, "name,label,split\na.mp4,sad,\nsub/b,,\nc,happy,test\n", ("other.mp4",))
    listing = list_dataset(params.model_copy(update={"media": False}))
    splits = {name: (entry.split, entry.label, entry.video) for name, entry in listing.entries.items()}
    assert splits == {"a": ("train", "sad", None), "sub/b": ("pool", None, None), "c": ("test", None, None)}
    assert (listing.notes, listing.truth) == ([], {"c": "happy"})
    with pytest.raises(DatasetError, match=r"'a\.mp4' and 'a' are the same clip"):
        list_dataset(folder(tmp_path, "name\na\na.mp4\n", ()).model_copy(update={"media": False}))
    with pytest.raises(DatasetError, match="name the CSV that says which clips"):
        list_dataset(folder(tmp_path, None, ()).model_copy(update={"media": False}))
