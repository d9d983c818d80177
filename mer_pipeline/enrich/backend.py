"""What writes the enriched text: the base of backends, and the section `enrich` of params.yaml."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from mer_pipeline.config.choice import Choice
from mer_pipeline.config.components import BACKENDS
from mer_pipeline.config.section import Count, Section

if TYPE_CHECKING:
    from mer_pipeline.base.runtime import LlmSettings
    from mer_pipeline.base.transform import Transform
    from mer_pipeline.enrich.journal import Journal
    from mer_pipeline.enrich.ledger import Ledger


class EnrichParams(Section):
    """Context enrichment of the transcript. Where a server is and how often it is asked stands in `.mer.toml`.
    `backend` says what writes the text; each backend has options of its own besides."""

    backend: str = "template"  # which code
    language: Literal["zh", "en"] = "en"  # of the prompt and of the words that are added

    @property
    def reach(self) -> int:
        """How many utterances before and after a clip are read."""
        return 0


class LanguageModelParams(EnrichParams):
    """A language model writes the text: the stage writes prompts and replies too."""

    by_server: ClassVar[bool] = False  # it is asked over the network, and may cost money

    model: Annotated[str, Field(pattern=r"\S", examples=["my-model"])]  # its name at the server
    prompt: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")] = "context"  # prompts/NAME.LANGUAGE.md
    neighbours: Annotated[int, Field(ge=0, le=20)] = 0  # utterances before and after, where the dataset has an order
    max_chars: Annotated[int, Field(ge=20, le=4000)] = 600  # of the text that the model adds
    max_tokens: Count = 1000  # of a reply
    offline: bool = False  # ask nobody: a reply that the store does not have is an error

    @property
    def reach(self) -> int:
        """How many utterances before and after a clip are read."""
        return self.neighbours


ENRICH = Choice(EnrichParams, "backend", BACKENDS)  # the section `enrich` of params.yaml


class Backend(ABC):
    """What writes the enriched text.

    Attributes:
        Params: the class of the section `enrich`.

    Args:
        params: that section.
    """

    Params: type[EnrichParams] = EnrichParams

    def __init__(self, params: EnrichParams) -> None:
        self.params: EnrichParams = params

    @abstractmethod
    def replier(
        self, classes: tuple[str, ...], settings: LlmSettings, journal: Journal | None, ledger: Ledger | None
    ) -> Transform[object] | None:
        """The transform from prompts to replies; None where no language model is asked.

        Args:
            classes: in order.
            settings: of this machine, where a server is asked.
            journal: of replies that no store has yet; by default the project's.
            ledger: counts requests; by default a new one.

        Raises:
            CheckpointError: a local checkpoint is missing or unfit.
        """


def make_backend(params: EnrichParams) -> Backend:
    """The backend that the section names."""
    return BACKENDS.load(params.backend)(params)
