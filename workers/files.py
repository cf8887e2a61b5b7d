# SPDX-License-Identifier: MIT
"""Files that a configuration names, opened so that none of them can block, flood or mislead the reader.

The author of a configuration chooses what a name in it leads to, and may change that at any time. So a file is opened
only if it is a regular one, below folders that are folders and not links, and no more of it is read than its kind may
have. A FIFO, a device, a link to another user's file or a file without end is an OSError that says so.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import NoReturn

#: Most bytes of an element's file; of a configuration, a library or a platform file.
ELEMENT_BYTES, CONFIG_BYTES = 1 << 20, 4 << 20
#: Most bytes of a capture: more than any host holds in memory.
CAPTURE_BYTES = 1 << 40
_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def place(name: str | Path, beside: str | Path) -> Path:
    """Return where the file is that `name` means in a configuration in the folder `beside`.

    Links on the way to that folder are the user's own, and followed; those below it are not, see :func:`open_file`.
    Of a name that begins at the root only the last part is not followed.
    """
    given = Path(os.path.normpath(name))
    folder = given.parent if given.is_absolute() else Path(beside)
    folder = Path(os.path.realpath(folder))
    return Path(os.path.normpath(folder / (given.name if given.is_absolute() else given)))


def own(name: str | Path) -> Path:
    """Return the path of a file that the user named on the command line: links are followed."""
    return Path(os.path.realpath(name))


def open_folder(path: Path) -> int:
    """Return a descriptor of a folder, to open files in; no link is followed on the way. Raises OSError."""
    at = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    for part in path.parts[1:]:
        try:
            following = os.open(part, _FOLDER, dir_fd=at)
        except NotADirectoryError:
            _refuse(errno.ENOTDIR, f"'{part}' on the way to it is no folder; links are not followed")
        finally:
            os.close(at)
        at = following
    return at


def open_in(folder: int, name: str, most: int) -> int:
    """Return a descriptor of a regular file in a folder, of at most `most` bytes. Raises OSError with what it is."""
    # Looked at first: to open some devices does something.
    _check(os.stat(name, dir_fd=folder, follow_symlinks=False), most)
    fd = os.open(name, _FILE, dir_fd=folder)
    try:
        found = os.fstat(fd)
        _check(found, most)
        if found.st_nlink > 1 and found.st_uid not in (os.fstat(folder).st_uid, os.geteuid()):
            _refuse(errno.EPERM, "it is a hard link to the file of another user")
    except BaseException:
        os.close(fd)
        raise
    return fd


def open_file(path: Path, most: int) -> int:
    """Return a descriptor of a regular file of at most `most` bytes; `path` is absolute. Raises OSError."""
    folder = open_folder(path.parent)
    try:
        return open_in(folder, path.name, most)
    finally:
        os.close(folder)


def read_all(fd: int, most: int) -> bytes:
    """Read and close a file; it may have grown since it was opened. Raises OSError if it has more than `most`."""
    with os.fdopen(fd, "rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        _refuse(errno.EFBIG, f"it has more than {most} bytes")
    return data


def read_file(path: Path, most: int) -> bytes:
    """Return what is in a regular file. Raises OSError with what is wrong with it."""
    return read_all(open_file(path, most), most)


def read_text(path: Path, most: int = CONFIG_BYTES) -> str:
    """Return what is in a file of text, a byte order mark left out. Raises OSError."""
    data = read_file(path, most)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        _refuse(errno.EILSEQ, f"it is not text (UTF-8): byte {data[error.start]:#04x} in line {line}")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _check(found: os.stat_result, most: int) -> None:
    if stat.S_ISLNK(found.st_mode):
        _refuse(errno.ELOOP, "it is a link: name the file itself")
    if stat.S_ISDIR(found.st_mode):
        _refuse(errno.EISDIR, "it is a folder")
    if not stat.S_ISREG(found.st_mode):
        _refuse(errno.EINVAL, "it is not a regular file")
    if found.st_size > most:
        _refuse(errno.EFBIG, f"it has more than {most} bytes")


def _refuse(number: int, why: str) -> NoReturn:
    raise OSError(number, why)
