"""What `mer init` takes from a challenge's release: its arrays of faces, and the encoders that its organisers name.

The profile of the official baseline reads the arrays where there are some. Any other profile reads them only where
there are no videos.
"""

from __future__ import annotations

from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from mer_pipeline.config.params import Params
from mer_pipeline.datasets.listing import Listing

BASELINE = "mertools"  # the profile of the official baseline
OPENFACE = {"detector": "openface"}  # the section `faces` of a dataset that has faces and no videos
# The sections of the baseline's profile for a dataset without arrays of faces: the faces of every frame.
DETECTED = {
    "frames": {"mode": "all", "max_frames": 300, "max_side": 640, "jpeg_quality": 92},
    "faces": {
        "detector": "mtcnn", "detect_side": 640, "min_face": 24, "min_score": 0.9, "margin": 0.1, "size": 224,
        "jpeg_quality": 95,
    },
}  # fmt: skip

# By adapter: for a checkpoint of the baseline's profile the one that is the best single feature in that release.
# Nobody states a commit of chinese-macbert-large; models.lock keeps that of the first download.
BEST = {
    "mer2026": {
        "hf:TencentGameMate/chinese-hubert-large@90cb660492214f687e60f5ca509b20edae6e75bd":
        "hf:TencentGameMate/chinese-hubert-base@fce0375452b1dd6c080ac3248d423d4d037bc831",
        "hf:hfl/chinese-roberta-wwm-ext@5c58d0b8ec1d9014354d691c538661bf00bfdb44":
        "hf:hfl/chinese-macbert-large",
    },
}  # fmt: skip


def set_best(params: CommentedMap, adapter: str) -> list[str]:
    """Set the checkpoints that are the best single features of a release in the content of a params file.

    Args:
        params: the content of the baseline's profile in the language of the release; it is changed.
        adapter: of the dataset.

    Returns:
        The checkpoints that were set.
    """
    best, taken = BEST.get(adapter, {}), []
    for section in params["encoders"].values():
        if section.get("checkpoint") in best:
            section["checkpoint"] = DoubleQuotedScalarString(best[section["checkpoint"]])
            taken.append(str(section["checkpoint"]))
    return taken


def set_faces(params: CommentedMap, listing: Listing, checked: Params) -> list[str]:
    """Let faces come from the dataset's arrays, or from a detector, in the content of a params file.

    Args:
        params: the content of a profile; it is changed.
        listing: the clips.
        checked: the same params, as the stages read them.

    Returns:
        What to say of it.
    """
    count = sum(entry.faces is not None for entry in listing.entries.values())
    videos = any(entry.video for entry in listing.entries.values())
    if checked.faces.detector == "openface":
        return _of_baseline(params, count, len(listing.entries))
    if not count:
        return []
    if videos:
        return [
            f"  {count} arrays of faces are there: with faces.detector: openface they are used instead of the videos"
        ]
    params["faces"] = CommentedMap(OPENFACE)
    lacking = [
        name
        for name, encoder in checked.encoders.items()
        if encoder.input == "frames" or encoder.family == "face-geometry"
    ]
    told = f"; {', '.join(lacking)} have nothing to read: let them read faces, or take them out" if lacking else ""
    return [f"  no videos: faces.detector is openface, for the {count} arrays of faces that are there{told}"]


def set_detected(params: CommentedMap) -> None:
    """Let a detector find the faces in the content of the baseline's profile."""
    for name, section in DETECTED.items():
        params[name] = CommentedMap(section)


def _of_baseline(params: CommentedMap, arrays: int, clips: int) -> list[str]:
    if not arrays:
        set_detected(params)
        return [
            "  the official baseline reads the release's arrays of faces (openface_face/), and none are there: "
            "faces.detector is mtcnn, on every frame"
        ]
    without = f"; clips without one, and so without a face: {clips - arrays}" if arrays < clips else ""
    return [f"  faces: the release's arrays ({arrays}), as in the official baseline{without}"]
