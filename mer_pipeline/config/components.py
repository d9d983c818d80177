"""The components that params.yaml and .mer.toml can name: one table per kind, from a name to a class.

A component is one module with its class and the class of its own params (`Params`). A built-in component also has a
line in a table here. A module is imported only when its component is used. Components from outside need no line here;
they are named by the place of their class:

    my_lab.encoders:Gaze          a module that can be imported
    components/gaze.py:Gaze       a file of the project below components/, where DVC notices changes
    gaze                          an entry point of an installed package, in the group of the table
"""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from mer_pipeline.base.errors import ComponentError, ParamsError, did_you_mean

if TYPE_CHECKING:
    from torch.nn import Module

    from mer_pipeline.base.encoder import Encoder
    from mer_pipeline.datasets.adapter import Adapter
    from mer_pipeline.engines.base import Engine
    from mer_pipeline.enrich.backend import Backend
    from mer_pipeline.heads.base import Head
    from mer_pipeline.judges.judge import Judge
    from mer_pipeline.vision.detector import Detector
    from mer_pipeline.vision.looks import Looks

FOLDER = "components"  # the folder of a project's own components

C = TypeVar("C", covariant=True)
S = TypeVar("S")


class Registry(Generic[C]):
    """The table of one kind of component.

    Args:
        what: the word for this kind in messages, such as "encoder".
        bases: classes as "module:Class"; a component's class must derive from one of them.
        built_in: the built-in components, from their names to "module:Class".

    Example:
        >>> ENCODERS.load("char-ngram")
        <class 'mer_pipeline.text.char_ngram.CharNgram'>
    """

    def __init__(self, what: str, bases: tuple[str, ...], built_in: Mapping[str, str]) -> None:
        self.what = what
        self.group = f"mer_pipeline.{what}s"  # the group of entry points
        self.built_in = built_in
        self._bases = bases

    def names(self) -> tuple[str, ...]:
        """Return the names of the built-in components and of the installed entry points."""
        return (*self.built_in, *(name for name in _entry_points(self.group) if name not in self.built_in))

    def load(self, name: str) -> type[C]:
        """Return the class of a component.

        Args:
            name: a name of `names`, "module:Class" or "components/FILE.py:Class".

        Raises:
            ParamsError: there is no component with this name.
            ComponentError: the component's code cannot be imported, or it has no class that fits.
        """
        if name in self.built_in:
            return cast("type[C]", _class_at(self.built_in[name]))
        return self._outside(name, self._target(name))

    def params_of(self, name: str, base: type[S]) -> type[S]:
        """Return the class of a component's params, which is the attribute `Params` of the component's class.

        Args:
            name: as in `load`.
            base: the class that the params must derive from.

        Raises:
            ParamsError: as in `load`.
            ComponentError: as in `load`, or the component has no params that derive from `base`.
        """
        found = getattr(self.load(name), "Params", None)
        if not isinstance(found, type) or not issubclass(found, base):
            raise ComponentError(
                f"{self.what} '{name}' has no params: set the class's attribute Params to a class that derives from "
                f"{base.__module__}.{base.__name__}"
            )
        return found

    def _target(self, name: str) -> str:
        """Return the place of a class that is not built in: "module:Class" or "file.py:Class"."""
        if ":" in name:
            return name
        installed = _entry_points(self.group)
        if name not in installed:
            raise ParamsError(f"there is no {self.what} '{name}'{did_you_mean(name, self.names())}")
        return installed[name].value

    def _outside(self, name: str, target: str) -> type[C]:
        place, _, attribute = target.rpartition(":")
        where = f"{self.what} '{name}'"
        module = _import(place, where)
        found = getattr(module, attribute, None)
        bases = tuple(map(_class_at, self._bases))
        if not isinstance(found, type):
            classes = [
                key for key, value in vars(module).items() if isinstance(value, type) and issubclass(value, bases)
            ]
            raise ComponentError(f"{where}: {place} has no class '{attribute}'{did_you_mean(attribute, classes)}")
        if not issubclass(found, bases):
            wanted = " or ".join(self._bases).replace(":", ".")
            raise ComponentError(f"{where}: the class '{attribute}' does not derive from {wanted}")
        return cast("type[C]", found)


def _class_at(place: str) -> type:
    module, _, attribute = place.partition(":")
    found: object = getattr(importlib.import_module(module), attribute)
    assert isinstance(found, type)
    return found


@cache
def _entry_points(group: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=group)}


def _import(place: str, where: str) -> ModuleType:
    """Import a module by its dotted name or by its file below components/.

    A file is imported under the dotted name that it has from the project's root.
    """
    file = Path(place) if place.endswith(".py") else None
    name = place if file is None else ".".join(file.with_suffix("").parts)
    if file is not None and (file.parts[0] != FOLDER or ".." in file.parts):
        raise ComponentError(f"{where}: the file must lie below {FOLDER}/, where DVC sees that it changes")
    if file is not None and not file.is_file():
        raise ComponentError(f"{where}: there is no file {place}; it is looked for from the project's root")
    if not all(part.isidentifier() for part in name.split(".")):
        raise ComponentError(
            f"{where}: '{place}' is no dotted name of a module and no path of Python names to a .py file"
        )
    root = str(Path.cwd())
    if root not in sys.path:
        sys.path.append(root)  # at the end, so that a file of the project cannot hide an installed package
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise ComponentError(
                f"{where}: there is no module '{error.name}' here; install it, or give a file as PATH.py:CLASS"
            ) from None
        raise ComponentError(_fault(where, error)) from error
    except Exception as error:
        raise ComponentError(_fault(where, error)) from error
    if file is not None and Path(module.__file__ or "").resolve() != file.resolve():
        raise ComponentError(
            f"{where}: '{name}' is already the module {module.__file__}; give {place} or its folder another name"
        )
    return module


def _fault(where: str, error: Exception) -> str:
    """Return the message about code that fails when it is imported, with the file and line of the failure."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    file, line = frame.filename, frame.lineno
    if isinstance(error, SyntaxError):
        file, line = error.filename or file, error.lineno
    return f"{where} cannot be imported: {file}, line {line}: {type(error).__name__}: {error}"


ENCODERS: Registry[Encoder[object]] = Registry(
    "encoder",
    ("mer_pipeline.base.encoder:Encoder",),
    {
        "appearance": "mer_pipeline.vision.appearance:Appearance",
        "face-geometry": "mer_pipeline.vision.geometry:FaceGeometry",
        "logmel": "mer_pipeline.speech.logmel:LogMel",
        "char-ngram": "mer_pipeline.text.char_ngram:CharNgram",
        "open-clip": "mer_pipeline.vision.open_clip:OpenClip",
        "facenet": "mer_pipeline.vision.facenet:Facenet",
        "hf-vision": "mer_pipeline.vision.hf_vision:HfVision",
        "hf-video": "mer_pipeline.vision.hf_video:HfVideo",
        "hf-speech": "mer_pipeline.speech.hf_speech:HfSpeech",
        "emotion2vec": "mer_pipeline.speech.emotion2vec:Emotion2vec",
        "hf-text": "mer_pipeline.text.hf_text:HfText",
        "file": "mer_pipeline.external.encoder:FromFile",
    },
)

JUDGES: Registry[Judge[object]] = Registry(
    "judge",
    ("mer_pipeline.judges.judge:Judge",),
    {
        "open-clip": "mer_pipeline.judges.open_clip:ZeroShot",
        "hf-image": "mer_pipeline.judges.hf_image:HfImage",
        "hf-audio": "mer_pipeline.judges.hf_audio:HfAudio",
        "llm-scores": "mer_pipeline.judges.llm_scores:LlmScores",
        "csv": "mer_pipeline.judges.outside:Outside",
        # This one needs all clips at once, so it is not a `Judge`; stages/vote.py runs it.
        "fusion-head": "mer_pipeline.judges.fusion_head:FusionHead",
    },
)

# The modules of heads import torch, so only stages that train load classes from this table.
HEADS: Registry[Head | Module] = Registry(
    "head",
    ("mer_pipeline.heads.base:Head", "torch.nn:Module"),
    {
        "ecmf": "mer_pipeline.heads.ecmf:Ecmf",
        "mertools": "mer_pipeline.heads.mertools:Mertools",
        "concat": "mer_pipeline.heads.concat:Concat",
        "gated": "mer_pipeline.heads.gated:Gated",
        "mean-logits": "mer_pipeline.heads.mean_logits:MeanLogits",
        "logreg": "mer_pipeline.heads.logreg:LogReg",
        "joint": "mer_pipeline.heads.joint:Joint",
        "anchored": "mer_pipeline.heads.anchored:Anchored",
        "ensemble": "mer_pipeline.heads.ensemble:Ensemble",
        "binary": "mer_pipeline.heads.binary:Binary",
        "ridge": "mer_pipeline.heads.ridge:Ridge",
    },
)

# Engines run transforms; .mer.toml names one.
ENGINES: Registry[Engine[object]] = Registry(
    "engine",
    ("mer_pipeline.engines.base:Engine",),
    {"local": "mer_pipeline.engines.local:LocalEngine", "ray": "mer_pipeline.engines.cluster:RayEngine"},
)

ADAPTERS: Registry[Adapter] = Registry(
    "adapter",
    ("mer_pipeline.datasets.adapter:Adapter",),
    {
        "mer2025": "mer_pipeline.datasets.mer:Mer2025",
        "mer2026": "mer_pipeline.datasets.mer:Mer2026",
        "folder": "mer_pipeline.datasets.folder:Folder",
    },
)

BACKENDS: Registry[Backend] = Registry(
    "backend",
    ("mer_pipeline.enrich.backend:Backend",),
    {
        "template": "mer_pipeline.enrich.template:ByRules",
        "openai": "mer_pipeline.enrich.ask:ByServer",
        "transformers": "mer_pipeline.enrich.generate:ByCheckpoint",
    },
)

DETECTORS: Registry[Detector] = Registry(
    "detector",
    ("mer_pipeline.vision.detector:Detector",),
    {
        "mtcnn": "mer_pipeline.vision.detector:Mtcnn",
        # It reads faces that others cut out, and is no `Detector`: config/steps.py runs it.
        "openface": "mer_pipeline.vision.openface:OpenFace",
    },
)

# params.yaml names none of these; `faces.checkpoint` decides.
LOOKS: Registry[Looks] = Registry(
    "look",
    ("mer_pipeline.vision.looks:Looks",),
    {"described": "mer_pipeline.vision.looks:Described", "embedded": "mer_pipeline.vision.embedded:Embedded"},
)
