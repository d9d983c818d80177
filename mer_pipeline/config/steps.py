"""The catalogue of steps: every table that is made clip by clip, with its transform and the stage that makes it.

Stages run their steps from here. `mer plan`, `verify`, `explain`, `quarantine` and `store forget` find steps here, and
tests compare dvc.yaml with what is here. Imports are inside the functions: who runs one step pays for no other.
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

# What passes from prepare to infer is each transform's own affair.
AnyTransform: TypeAlias = Transform[object]


@dataclass(frozen=True)
class Step:
    """One table that is made clip by clip.

    Attributes:
        stage: the stage that makes it, as DVC calls it, such as "embed@voice".
        name: the transform's, such as "embed-voice".
        table: the table, by its path below data/, such as "features/voice".
        make: builds the transform.
        external_response: its rows are responses of an outside service, which nobody computes again.
    """

    stage: str
    name: str
    table: str
    make: Callable[[], AnyTransform]
    external_response: bool = False


def frames(params: Params) -> Step:
    """Pictures of a clip's video, with their times."""

    def make() -> AnyTransform:
        from mer_pipeline.vision.frames import SampleFrames

        return SampleFrames(params.frames, Path(params.dataset.root))  # type: ignore[return-value]

    return Step("frames", "frames", "frames", make)


def tracks(params: Params) -> Step:
    """All people of a clip: their faces through its shots."""

    def make() -> AnyTransform:
        from mer_pipeline.vision.tracks import FollowFaces

        return FollowFaces(params.faces, Path(params.dataset.root))  # type: ignore[return-value]

    return Step("faces", "tracks", "tracks", make)


def faces(params: Params) -> Step:
    """Aligned crops of a clip's primary face."""

    def make() -> AnyTransform:
        from mer_pipeline.vision.faces import ChooseFace

        return ChooseFace(params.faces.choice())  # type: ignore[return-value]

    return Step("faces", "faces", "faces", make)


def audio(params: Params) -> Step:
    """A clip's sound."""

    def make() -> AnyTransform:
        from mer_pipeline.speech.track import ExtractAudio

        return ExtractAudio(params.audio, Path(params.dataset.root))  # type: ignore[return-value]

    return Step("audio", "audio", "audio", make)


def cues() -> Step:
    """What is measured of a clip's voice and face."""

    def make() -> AnyTransform:
        from mer_pipeline.enrich.cues import MeasureCues

        return MeasureCues()  # type: ignore[return-value]

    return Step("enrich", "cues", "cues", make)


def prompts(params: Params) -> Step:
    """What a language model is asked about a clip."""

    def make() -> AnyTransform:
        from mer_pipeline.enrich.backend import LanguageModelParams
        from mer_pipeline.enrich.prompt import RenderPrompt

        assert isinstance(params.enrich, LanguageModelParams)
        return RenderPrompt(params.enrich, params.dataset.classes)  # type: ignore[return-value]

    return Step("enrich", "prompts", "prompts", make)


def replies(params: Params, journal: Journal | None = None, ledger: Ledger | None = None) -> Step:
    """What the language model answers; `journal` and `ledger` as in `Backend.replier`."""

    def make() -> AnyTransform:
        from mer_pipeline.enrich.backend import make_backend

        made = make_backend(params.enrich).replier(params.dataset.classes, load_runtime().llm, journal, ledger)
        assert made is not None
        return made

    return Step("enrich", "replies", "replies", make, external_response=True)


def enriched(params: Params) -> Step:
    """A clip's words with what is known of their context."""

    def make() -> AnyTransform:
        from mer_pipeline.enrich.transform import Enrich

        return Enrich(params.enrich, params.dataset.classes)  # type: ignore[return-value]

    return Step("enrich", "enriched", "enriched", make)


def embed(params: Params, name: str) -> Step:
    """A clip's vector by the encoder NAME.

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
    """How much each class fits a clip, by the judge NAME, which is no fusion head.

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
    """All steps, in an order in which they can run."""
    from mer_pipeline.enrich.backend import LanguageModelParams

    asked = [prompts(params), replies(params)] if isinstance(params.enrich, LanguageModelParams) else []
    return [
        frames(params),
        audio(params),
        tracks(params),
        faces(params),
        cues(),
        *asked,
        enriched(params),
        *(embed(params, name) for name in params.encoders),
        *(vote(params, name) for name, judge in params.judges.items() if not judge.is_head),
    ]


def find_step(name: str, params: Params | None = None) -> Step:
    """The step of a name, given as a person may: "faces", "embed@voice", "embed-voice" or "voice"; judges likewise.

    Raises:
        UsageError: there is none.
    """
    known = steps(params or load_params())
    for step in known:
        short = step.name.removeprefix("embed-").removeprefix("vote-")
        if name in {step.name, step.table, short, step.name.replace("-", "@", 1)}:
            return step
    raise UsageError(f"no stage '{name}' keeps rows{did_you_mean(name, [step.name for step in known])}")


def inputs_of(transform: AnyTransform, project: Project, shards: int) -> Inputs:
    """The tables that a transform reads.

    Raises:
        StageError: one of them is not there.
    """
    return Inputs(
        transform.sources, {source.table: project.table(source.table) for source in transform.sources}, shards
    )
