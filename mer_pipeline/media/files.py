"""List the media files below a folder, by the name of the clip.

No file is opened. A name in a table of the dataset is only looked up in this list, so that it cannot lead to a file
outside of the folder.
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
    """List the files below a folder that have one of some suffixes.

    Args:
        folder: the folder that is searched.
        root: the folder that the returned paths are relative to; it is `folder` or contains it.
        suffixes: the suffixes in lower case, with the dot.
        key: the key of params.yaml that names the folder, for error messages.

    Returns:
        A path relative to `root` for each name. A name is the path below `folder` without its suffix, in Unicode's
        normal form NFC.

    Raises:
        DatasetError: if two files have one name, a name is not UTF-8, or a folder is a link that leads out of `folder`.
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
    """Find the regular files and the broken links below a folder, without hidden files and hidden folders.

    The paths are relative to the folder. They are text, because a dataset has 100,000 files and more, and to make Path
    objects of so many takes seconds.

    Raises:
        DatasetError: if a folder is a link that leads out of the searched folder. DVC does not follow such links, so
            that it would not notice changes there.
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
