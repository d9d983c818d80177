"""Which transform each stage runs and where its rows go, for the commands that look at all of them.

The stages' own scripts build their transform themselves, so that each pays only for what it imports;
tests/cli/test_pipeline.py holds the two against each other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

from mer_pipeline.enrich.backend import LanguageModelParams
from mer_pipeline.errors import UsageError, did_you_mean
from mer_pipeline.params import Params, load_params
from mer_pipeline.project import Project
from mer_pipeline.runtime import Runtime, load_runtime
from mer_pipeline.store.fingerprint import Fingerprint, fingerprint_of
from mer_pipeline.transform import Transform

# What passes from prepare to infer is each transform's own affair (as in encoder.py).
AnyTransform: TypeAlias = Transform[object]


@dataclass(frozen=True)
class Step:
    """One transform of the pipeline.

    Attributes:
        stage: DVC's name of the stage that runs it, such as "embed@voice".
        name: the transform's, such as "embed-voice".
        table: its folder below data/.
        make: builds it.
        external_response: its rows are responses of an outside service, which nobody computes again.
    """

    stage: str
    name: str
    table: str
    make: Callable[[], AnyTransform]
    external_response: bool = False

    @property
    def folder(self) -> Path:
        """Where its shards are."""
        return Project().table(self.table)


def steps(params: Params) -> list[Step]:
    """All transforms, in an order in which they can run."""
    root = Path(params.dataset.root)

    def frames() -> AnyTransform:
        from mer_pipeline.vision.frames import SampleFrames

        return SampleFrames(params.frames, root)  # type: ignore[return-value]

    def faces() -> AnyTransform:
        from mer_pipeline.vision.faces import CropFaces

        return CropFaces(params.faces)  # type: ignore[return-value]

    def audio() -> AnyTransform:
        from mer_pipeline.speech.track import ExtractAudio

        return ExtractAudio(params.audio, root)  # type: ignore[return-value]

    def cues() -> AnyTransform:
        from mer_pipeline.enrich.cues import MeasureCues

        return MeasureCues()  # type: ignore[return-value]

    def enriched() -> AnyTransform:
        from mer_pipeline.enrich.transform import Enrich

        return Enrich(params.enrich, params.dataset.classes)  # type: ignore[return-value]

    def prompts() -> AnyTransform:
        from mer_pipeline.enrich.prompt import RenderPrompt

        assert isinstance(params.enrich, LanguageModelParams)
        return RenderPrompt(params.enrich, params.dataset.classes)  # type: ignore[return-value]

    def replies() -> AnyTransform:
        from mer_pipeline.cli.asking import replier

        assert isinstance(params.enrich, LanguageModelParams)
        return replier(params.enrich, params.dataset.classes, load_runtime())

    asked = [
        Step("enrich", "prompts", "prompts", prompts),
        Step("enrich", "replies", "replies", replies, external_response=True),
    ]

    def encoder(name: str) -> AnyTransform:
        from mer_pipeline.encoder import make_encoder

        return make_encoder(name, params.encoders[name])

    def judge(name: str) -> AnyTransform:
        from mer_pipeline.judges.judge import make_judge

        return make_judge(name, params.judges[name], params.dataset.classes)

    return [
        Step("frames", "frames", "frames", frames),
        Step("faces", "faces", "faces", faces),
        Step("audio", "audio", "audio", audio),
        Step("enrich", "cues", "cues", cues),
        *(asked if isinstance(params.enrich, LanguageModelParams) else ()),
        Step("enrich", "enriched", "enriched", enriched),
        *(
            Step(f"embed@{name}", f"embed-{name}", f"features/{name}", partial(encoder, name))
            for name in params.encoders
        ),
        *(
            Step(f"vote@{name}", f"vote-{name}", f"votes/{name}", partial(judge, name))
            for name in params.judges
            if not params.judges[name].is_head
        ),
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


def fingerprint_for(transform: AnyTransform, runtime: Runtime) -> Fingerprint:
    """What would make a transform's rows on this machine."""
    return fingerprint_of(transform, runtime.device_kind() if transform.uses_torch else "any")
