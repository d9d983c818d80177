"""Read a section of params.yaml that names a component; it may have the options of that component and no others.

    words: {family: char-ngram, input: transcript, dim: 1024}    accepted: CharNgramParams has `dim`
    voice: {family: logmel, input: audio, dim: 1024}             an error: LogMelParams has no `dim`

`Choice` looks the name in the section up in the table of that kind of component, and so finds the section's class. Only
the modules that params.yaml names are imported.
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
    """Finds the class of a section. Used as a pydantic validator, it checks the section by that class.

    Attributes:
        base: the base of all classes that the section may have, such as `EncoderParams`.
        key: the key of the section that names the component, such as "family".
        table: the known components.
    """

    base: type[S]
    key: str
    table: Registry[object]

    def class_of(self, raw: object) -> tuple[type[S], str]:
        """Return the class of a section, and a phrase for messages about the choice, such as "family 'logmel'".

        If the section names no component, the result is the base class and "".

        Raises:
            ParamsError: there is no component with the name that the section gives.
            ComponentError: the component's code cannot be imported, or its class does not fit.
        """
        default = self.base.model_fields[self.key].get_default()
        name = raw.get(self.key, default) if isinstance(raw, Mapping) else None
        if not isinstance(name, str):
            return self.base, ""
        return self.table.params_of(name, self.base), f"{self.key} '{name}'"

    def parse(self, raw: Mapping[str, object]) -> S:
        """Make a section from the mapping in the file.

        Raises:
            ValidationError: a key is unknown or missing, or has a wrong value.
            ComponentError: as in `class_of`.
        """
        try:
            kind, owner = self.class_of(raw)
        except ParamsError as error:
            unknown = PydanticCustomError("unknown_component", "{sentence}", {"sentence": str(error)})
            line = InitErrorDetails(type=unknown, loc=(self.key,), input=raw[self.key])
            raise ValidationError.from_exception_data(self.base.__name__, [line]) from None
        if not owner:  # without a component, the allowed options are unknown, so they are left out
            raw = {key: value for key, value in raw.items() if key in kind.model_fields}
        return kind.model_validate_json(json.dumps(raw), strict=True)

    def __call__(self, value: object, handler: ValidatorFunctionWrapHandler) -> S:
        """Check a section. This makes a Choice usable as a pydantic `WrapValidator`."""
        if isinstance(value, Mapping):
            return self.parse(value)
        checked: S = handler(value)  # accepts a Section object, and raises an error for any other value
        return checked
