"""The base of backends, which write the context-enriched text, and the section `enrich` of params.yaml."""

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
    """Context enrichment of the transcript. `backend` says what writes the text; each backend has options of its own
    besides. The address of a server, and how often it is asked, are set in `.mer.toml`."""

    backend: str = "template"  # name of the backend
    language: Literal["zh", "en"] = "en"  # of the prompt and of the words that are added

    @property
    def reach(self) -> int:
        """How many utterances before and after a clip are part of its context."""
        return 0


class LanguageModelParams(EnrichParams):
    """A language model writes the text. The stage then also writes the tables of prompts and replies."""

    by_server: ClassVar[bool] = False  # whether the model is asked over the network, which may cost money

    model: Annotated[str, Field(pattern=r"\S", examples=["my-model"])]  # its name at the server
    prompt: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")] = "context"  # prompts/NAME.LANGUAGE.md
    neighbours: Annotated[int, Field(ge=0, le=20)] = 0  # utterances before and after, if the dataset has an order
    max_chars: Annotated[int, Field(ge=20, le=4000)] = 600  # of the text that the model adds
    max_tokens: Count = 1000  # of a reply
    offline: bool = False  # send no request: a reply that the store does not have is an error

    @property
    def reach(self) -> int:
        """How many utterances before and after a clip are part of its context."""
        return self.neighbours


ENRICH = Choice(EnrichParams, "backend", BACKENDS)  # the section `enrich` of params.yaml


class Backend(ABC):
    """Base of the backends. A backend says how the context-enriched text is written.

    Attributes:
        Params: the class of the section `enrich` of params.yaml for this backend.

    Args:
        params: the section `enrich`.
    """

    Params: type[EnrichParams] = EnrichParams

    def __init__(self, params: EnrichParams) -> None:
        self.params: EnrichParams = params

    @abstractmethod
    def replier(
        self, classes: tuple[str, ...], settings: LlmSettings, journal: Journal | None, ledger: Ledger | None
    ) -> Transform[object] | None:
        """Make the transform from prompts to replies; None if the backend asks no language model.

        Args:
            classes: the class names, in order.
            settings: where the server is and how often it is asked.
            journal: the replies that no store has yet; by default the project's journal.
            ledger: counts requests and tokens; by default a new one.

        Raises:
            CheckpointError: if a local checkpoint is missing or unfit.
            UsageError: if the key or the address of the server is not usable.
        """


def make_backend(params: EnrichParams) -> Backend:
    """Make the backend that the section `enrich` of params.yaml names."""
    return BACKENDS.load(params.backend)(params)
