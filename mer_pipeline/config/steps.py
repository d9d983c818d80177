"""The list of all steps: every table that is made clip by clip, with its transform and the stage that makes it.

Stages take their steps from here. `mer plan`, `verify`, `explain`, `quarantine` and `store forget` find steps here, and
tests compare dvc.yaml with this list. Imports are inside the functions, so that running one step does not import the
modules of the others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from mer_pipeline.base.errors import ParamsError, UsageError, did_you_mean
from mer_pipeline.base.runtime import load_runtime
from mer_pipeline.base.transform import Transform
from mer_pipeline.config.params import Params, load_params
from mer_pipeline.config.project import Project
from mer_pipeline.store.inputs import Inputs

if TYPE_CHECKING:
    from mer_pipeline.enrich.journal import Journal
    from mer_pipeline.enrich.ledger import Ledger
    from mer_pipeline.models.lock import Checkpoints

# A transform of any type of item; only the transform itself uses its items.
AnyTransform: TypeAlias = Transform[object]


@dataclass(frozen=True)
class Step:
    """One table that is made clip by clip.

    Attributes:
        stage: the DVC name of the stage that makes it, such as "embed@voice".
        name: the name of the transform, such as "embed-voice".
        table: the table's path below data/, such as "features/voice".
        make: makes the transform.
        external_response: whether its rows are external responses, which cannot be computed again.
    """

    stage: str
    name: str
    table: str
    make: Callable[[], AnyTransform]
    external_response: bool = False


def frames(params: Params) -> Step:
    """Return the step that samples frames from a clip's video, with their times."""

    def make() -> AnyTransform:
        from mer_pipeline.vision.frames import SampleFrames

        return SampleFrames(params.frames, Path(params.dataset.root))  # type: ignore[return-value]

    return Step("frames", "frames", "frames", make)


def tracks(params: Params) -> Step:
    """All people of a clip: their faces through its shots."""

    def make() -> AnyTransform:
        from mer_pipeline.vision.openface import OpenFace, OpenFaceParams
        from mer_pipeline.vision.tracks import FollowFaces

        if isinstance(params.faces, OpenFaceParams):
            return OpenFace(params.faces, Path(params.dataset.root))  # type: ignore[return-value]
        return FollowFaces(params.faces, Path(params.dataset.root))  # type: ignore[return-value]

    return Step("faces", "tracks", "tracks", make)


def faces(params: Params) -> Step:
    """Return the step that cuts aligned crops of a clip's primary face."""

    def make() -> AnyTransform:
        from mer_pipeline.vision.faces import ChooseFace

        return ChooseFace(params.faces.choice())  # type: ignore[return-value]

    return Step("faces", "faces", "faces", make)


def audio(params: Params) -> Step:
    """Return the step that extracts a clip's sound."""

    def make() -> AnyTransform:
        from mer_pipeline.speech.track import ExtractAudio

        return ExtractAudio(params.audio, Path(params.dataset.root))  # type: ignore[return-value]

    return Step("audio", "audio", "audio", make)


def heard(params: Params) -> Step:
    """Return the step that recognises the words of clips that have no subtitle."""

    def make() -> AnyTransform:
        from mer_pipeline.text.transcribe import Transcribe

        return Transcribe(params.transcript)  # type: ignore[return-value]

    return Step("transcribe", "heard", "heard", make)


def cues() -> Step:
    """Return the step that measures the cues of a clip's voice and face."""

    def make() -> AnyTransform:
        from mer_pipeline.enrich.cues import MeasureCues

        return MeasureCues()  # type: ignore[return-value]

    return Step("enrich", "cues", "cues", make)


def prompts(params: Params) -> Step:
    """Return the step that writes the prompt about a clip for a language model."""

    def make() -> AnyTransform:
        from mer_pipeline.enrich.backend import LanguageModelParams
        from mer_pipeline.enrich.prompt import RenderPrompt

        assert isinstance(params.enrich, LanguageModelParams)
        return RenderPrompt(params.enrich, params.dataset.classes)  # type: ignore[return-value]

    return Step("enrich", "prompts", "prompts", make)


def replies(params: Params, journal: Journal | None = None, ledger: Ledger | None = None) -> Step:
    """Return the step that gets the language model's replies. `journal` and `ledger` are as in `Backend.replier`."""

    def make() -> AnyTransform:
        from mer_pipeline.enrich.backend import make_backend

        made = make_backend(params.enrich).replier(params.dataset.classes, load_runtime().llm, journal, ledger)
        assert made is not None
        return made

    return Step("enrich", "replies", "replies", make, external_response=True)


def enriched(params: Params) -> Step:
    """Return the step that makes the context-enriched text of a clip."""

    def make() -> AnyTransform:
        from mer_pipeline.enrich.transform import Enrich

        return Enrich(params.enrich, params.dataset.classes)  # type: ignore[return-value]

    return Step("enrich", "enriched", "enriched", make)


def embed(params: Params, name: str) -> Step:
    """Return the step that computes the feature vectors of one encoder.

    Args:
        params: the params.
        name: the encoder's name in params.yaml.

    Raises:
        ParamsError: params.yaml has no such encoder.
    """
    if name not in params.encoders:
        raise ParamsError(f"params.yaml has no encoder '{name}'{did_you_mean(name, params.encoders)}")

    def make() -> AnyTransform:
        from mer_pipeline.base.encoder import make_encoder

        return make_encoder(name, params.encoders[name])

    return Step(f"embed@{name}", f"embed-{name}", f"features/{name}", make)


def vote(params: Params, name: str) -> Step:
    """Return the step in which one judge says how well each class fits a clip.

    Args:
        params: the params.
        name: the judge's name in params.yaml; it must not be a fusion-head judge.

    Raises:
        ParamsError: params.yaml has no such judge.
    """
    if name not in params.judges:
        raise ParamsError(f"params.yaml has no judge '{name}'{did_you_mean(name, params.judges)}")

    def make() -> AnyTransform:
        from mer_pipeline.judges.judge import make_judge

        return make_judge(name, params.judges[name], params.dataset.classes)

    return Step(f"vote@{name}", f"vote-{name}", f"votes/{name}", make)


def steps(params: Params) -> list[Step]:
    """Return all steps, in an order in which they can run."""
    from mer_pipeline.enrich.backend import LanguageModelParams

    asked = [prompts(params), replies(params)] if isinstance(params.enrich, LanguageModelParams) else []
    recognised = [] if params.transcript.backend == "none" else [heard(params)]
    return [
        frames(params),
        audio(params),
        *recognised,
        tracks(params),
        faces(params),
        cues(),
        *asked,
        enriched(params),
        *(embed(params, name) for name in params.encoders),
        *(vote(params, name) for name, judge in params.judges.items() if not judge.is_head),
    ]


def find_step(name: str, params: Params | None = None) -> Step:
    """Return the step that a user names.

    Args:
        name: the step in any common spelling, such as "faces", "embed@voice", "embed-voice", "features/voice" or
            "voice".
        params: the params; None: those of the project.

    Raises:
        UsageError: there is no such step.
    """
    known = steps(params or load_params())
    for step in known:
        short = step.name.removeprefix("embed-").removeprefix("vote-")
        if name in {step.name, step.table, short, step.name.replace("-", "@", 1)}:
            return step
    raise UsageError(f"no stage '{name}' keeps rows{did_you_mean(name, [step.name for step in known])}")


def inputs_of(transform: AnyTransform, project: Project, shards: int) -> Inputs:
    """Return the tables that a transform reads.

    Args:
        transform: the transform.
        project: the project that has the tables.
        shards: the number of shards of the transform's own table.

    Raises:
        StageError: a table is missing.
    """
    return Inputs(
        transform.sources, {source.table: project.table(source.table) for source in transform.sources}, shards
    )


def checkpoints(params: Params) -> Checkpoints:
    """Return the checkpoints that any section names, by their names in models.lock."""
    from mer_pipeline.models.lock import checkpoints_of

    return checkpoints_of(
        params.encoders, params.judges, enrich=params.enrich, faces=params.faces, transcript=params.transcript.used
    )
