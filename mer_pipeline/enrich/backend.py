"""The section `enrich` of params.yaml: what writes the enriched text, and how."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from mer_pipeline.section import Count, Section, Seed


class EnrichParams(Section):
    """Context enrichment of the transcript. Where a server is and how often it is asked stands in `.mer.toml`."""

    # what writes the enriched text: nothing but rules, an OpenAI-compatible server, or a checkpoint in this process
    backend: Literal["template", "openai", "transformers"] = "template"
    language: Literal["zh", "en"] = "en"  # of the prompt and of the words that are added
    # openai: its name at the server; transformers: dir:PATH or hf:org/name@rev
    model: Annotated[str, Field(pattern=r"\S")] | None = None
    prompt: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")] = "context"  # prompts/NAME.LANGUAGE.md
    neighbours: Annotated[int, Field(ge=0, le=20)] = 0  # utterances before and after, where the dataset has an order
    max_chars: Annotated[int, Field(ge=20, le=4000)] = 600  # of the text that the model adds
    max_tokens: Count = 1000  # of a reply
    temperature: Annotated[float, Field(ge=0.0, le=2.0)] = 0.0  # 0: greedy; a local checkpoint knows nothing else
    seed: Seed = 0  # of the model's sampling
    offline: bool = False  # ask nobody: a reply that the store does not have is an error

    @model_validator(mode="after")
    def _fits(self) -> EnrichParams:
        if (self.backend == "template") != (self.model is None):
            need = "takes no model" if self.model is not None else "needs a model"
            raise ValueError(f"backend '{self.backend}' {need}")
        if self.backend == "transformers" and self.temperature > 0:
            raise ValueError("backend 'transformers' is greedy: temperature must be 0")
        return self

    @property
    def checkpoint(self) -> str | None:
        """The checkpoint in this process; None where another writes."""
        return self.model if self.backend == "transformers" else None
