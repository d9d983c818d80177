"""A section of params.yaml that names a component: the options that it may have are those of that component.

    words: {family: char-ngram, input: transcript, dim: 1024}    CharNgramParams: it has `dim`
    voice: {family: logmel, input: audio, dim: 1024}             an error: LogMelParams has no `dim`

`Choice` is what finds the class of such a section: by the name in it, and the table of its kind of components. So only
the modules that a file names are imported.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import ValidationError, ValidatorFunctionWrapHandler
from pydantic_core import InitErrorDetails, PydanticCustomError

from mer_pipeline.base.errors import ParamsError
from mer_pipeline.config.components import Registry
from mer_pipeline.config.section import Section

S = TypeVar("S", bound=Section, covariant=True)


@dataclass(frozen=True)
class Choice(Generic[S]):
    """Which class a section has. As a pydantic validator it checks the section by that class.

    Attributes:
        base: of all that it may be: `EncoderParams`.
        key: names the component: "family".
        table: of those that are known.
    """

    base: type[S]
    key: str
    table: Registry[object]

    def class_of(self, raw: object) -> tuple[type[S], str]:
        """The class of a section, and what chose it, such as "family 'logmel'"; the base and "" where it names nothing.

        Raises:
            ParamsError: nothing has the name that is in it.
            ComponentError: the code that the name leads to cannot be imported, or does not fit.
        """
        default = self.base.model_fields[self.key].get_default()
        name = raw.get(self.key, default) if isinstance(raw, Mapping) else None
        if not isinstance(name, str):
            return self.base, ""
        return self.table.params_of(name, self.base), f"{self.key} '{name}'"

    def parse(self, raw: Mapping[str, object]) -> S:
        """A section from what the file says.

        Raises:
            ValidationError: a key is unknown or missing, or has a wrong value.
            ComponentError: as `class_of`.
        """
        try:
            kind, owner = self.class_of(raw)
        except ParamsError as error:
            unknown = PydanticCustomError("unknown_component", "{sentence}", {"sentence": str(error)})
            line = InitErrorDetails(type=unknown, loc=(self.key,), input=raw[self.key])
            raise ValidationError.from_exception_data(self.base.__name__, [line]) from None
        if not owner:  # what it may have besides is not known
            raw = {key: value for key, value in raw.items() if key in kind.model_fields}
        return kind.model_validate_json(json.dumps(raw), strict=True)

    def __call__(self, value: object, handler: ValidatorFunctionWrapHandler) -> S:
        """Check a section as pydantic's wrapping validator."""
        if isinstance(value, Mapping):
            return self.parse(value)
        checked: S = handler(value)  # a section that is made already; or no section at all, which is an error
        return checked
