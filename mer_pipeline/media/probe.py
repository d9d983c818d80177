"""Read what the header of a media file says, for the manifest."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mer_pipeline.base.errors import BadInput
from mer_pipeline.media.container import length_of, open_media, picture_stream, sound_stream
from mer_pipeline.media.upright import shown_size

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.video.stream import VideoStream


@dataclass(frozen=True)
class MediaInfo:
    """What the header of a media file says.

    Attributes:
        width, height: size of the picture as it is shown, in pixels; None if there is no picture.
        frame_rate: frames per second according to the header, which may be wrong; None if there is no picture or the
            header does not say.
        seconds: length of the picture, or of the sound if there is no picture; None if the header does not say.
        has_sound: whether there is a sound stream that can be decoded.
        problem: what keeps the picture or the sound from being decoded, if the other half can be; otherwise None.
        opening: hex digest of the first picture; None if there is no picture.
    """

    width: int | None
    height: int | None
    frame_rate: float | None
    seconds: float | None
    has_sound: bool
    problem: str | None = None
    opening: str | None = None


def probe(path: Path) -> MediaInfo:
    """Read the header of a media file, and decode its first frame to learn how it is shown.

    Raises:
        BadInput: as for `open_media`; or if the file has neither picture nor sound, neither can be decoded, or no frame
            can be decoded.
        Transient: as for `open_media`.
    """
    with open_media(path) as container:
        problem = picture = sound = None
        try:
            picture = picture_stream(container)
        except BadInput as error:
            problem = error
        try:
            sound = sound_stream(container)
        except BadInput as error:
            problem = problem or error
        main = picture or sound
        if main is None:
            raise problem or BadInput("the file has neither picture nor sound")
        info = MediaInfo(
            None, None, None, _seconds(container, main), sound is not None, None if problem is None else str(problem)
        )
        return info if picture is None else _with_picture(container, picture, info)


def _with_picture(container: InputContainer, picture: VideoStream, info: MediaInfo) -> MediaInfo:
    first = next(container.decode(picture), None)
    if first is None:
        raise BadInput("the file has no frame that can be decoded; copy it again")
    width, height = shown_size(first, picture.sample_aspect_ratio)
    rate = picture.average_rate
    opening = hashlib.blake2b(first.to_ndarray(format="rgb24").tobytes(), digest_size=16).hexdigest()
    return replace(info, width=width, height=height, frame_rate=None if rate is None else float(rate), opening=opening)


def _seconds(container: InputContainer, main: VideoStream | AudioStream) -> float | None:
    if main.duration is not None and main.time_base is not None:
        return float(main.duration * main.time_base)
    return length_of(container)
