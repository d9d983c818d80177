"""Files of clips below a folder, by the clip's name.

Nothing is opened: a name in somebody's table is only ever looked up among the files that are there and cannot lead
out of the folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from mer_pipeline.base.csv_files import clean
from mer_pipeline.base.errors import DatasetError

# Suffixes of films and sounds whose containers are not read: a person is told of such files, and how to convert them.
UNREAD_SUFFIXES = frozenset(
    {
        *(".flv", ".f4v", ".wmv", ".asf", ".mts", ".m2ts", ".ts", ".mpg", ".mpeg", ".vob", ".ogv", ".rm", ".rmvb"),
        *(".wma", ".aac", ".amr", ".aif", ".aiff", ".au", ".ac3", ".caf", ".mka"),
    }
)


def files_below(folder: Path, root: Path, suffixes: frozenset[str], key: str = "dataset.root") -> dict[str, str]:
    """Files below a folder: name (path below it without suffix, NFC) to path relative to root.

    Args:
        folder: what is searched.
        root: what paths are relative to; `folder` or above it.
        suffixes: in small letters, with the dot.
        key: of params.yaml, which names the folder; for messages.

    Raises:
        DatasetError: two files of one name, a name that is not UTF-8, or a linked folder.
    """
    found: dict[str, str] = {}
    above = folder.relative_to(root).as_posix()
    for relative in sorted(_files(folder, suffixes, key)):
        try:
            relative.encode()
        except UnicodeEncodeError:
            shown = os.fsencode(relative).decode(errors="replace")
            raise DatasetError(f"the file name '{shown}' in {folder} is not UTF-8; rename it (try convmv)") from None
        name = clean(os.path.splitext(relative)[0])
        place = relative if above == "." else f"{above}/{relative}"
        if name in found:
            raise DatasetError(f"two files are called '{name}': {found[name]} and {place}; rename or remove one")
        found[name] = place
    return found


def unread_below(folder: Path) -> dict[str, str]:
    """Files of films and sounds that are not read: name (as in `files_below`) to path, relative to the folder.

    Raises:
        DatasetError: a linked folder.
    """
    return {clean(os.path.splitext(path)[0]): path for path in sorted(_files(folder, UNREAD_SUFFIXES, "dataset.root"))}


def _files(folder: Path, suffixes: frozenset[str], key: str) -> Iterator[str]:
    """Regular files and broken links below a folder, but not the hidden ones.

    Paths relative to the folder, as text: there are 100,000 and more, and making Path objects of them takes seconds.

    Raises:
        DatasetError: a folder is a link to somewhere else; DVC does not follow it, so what changes there goes unseen.
    """
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in folders:
            target = os.path.realpath(f"{place}/{name}")
            if os.path.islink(f"{place}/{name}") and not f"{target}/".startswith(f"{os.path.realpath(folder)}/"):
                raise DatasetError(
                    f"{place}/{name} is a linked folder, and DVC would not see what changes in it: make {target} the "
                    f"{key}, or put links to its files into a folder of their own"
                )
        below = os.path.relpath(place, folder).replace(os.sep, "/")
        for name in files:
            path = f"{place}/{name}"
            if name.startswith(".") or os.path.splitext(name)[1].lower() not in suffixes:
                continue
            if os.path.isfile(path) or os.path.islink(path):
                yield name if below == "." else f"{below}/{name}"
