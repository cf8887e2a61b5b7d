# SPDX-License-Identifier: MIT
"""The directory of a running platform: its lock, manifest and socket; and the removal of what a dead one left.

A command that finds the lock free removes what the platform left, so the memory of a killed platform is freed by the
next command. Nothing else is ever removed: a directory counts only if its lock file says that it was made here, if it
belongs to this user and is no link; in it only the files of :data:`_FILES` go, and of shared memory only names that
begin with the lock file's token, which is random.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import posix_ipc

from shm.manifest import Manifest, VersionError
from shm.segment import SegmentError

#: All files that a run directory may hold, besides its lock; and its folders.
_FILES = ("manifest.json", "manifest.partial", "control", "groups")
_FOLDERS = ("jail",)
#: What a lock file says: that it is one, and the token in the names of its platform's segments.
_MARK = "vre run directory, token {}\n"
_MARKED = re.compile(_MARK.format("([0-9a-f]{16})"))
#: A name must fit, with a router's, into a segment's (255 bytes) and, with the run root's, into a socket's (107).
LONGEST_NAME = 48
#: A sweep holds the lock of a directory for an instant.
_SWEEP_S = 0.2


def run_root() -> Path:
    """Return the folder of run directories: one for each user."""
    if "VRE_RUN" in os.environ:
        return Path(os.environ["VRE_RUN"])
    if os.geteuid() == 0:
        return Path("/run/vre")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Path(runtime) / "vre" if runtime else Path(tempfile.gettempdir()) / f"vre-{os.geteuid()}"


def why_no_name(name: str) -> str:
    """Return why a platform cannot have this name, "" if it can: it becomes part of paths."""
    if not name or name.startswith(".") or "/" in name or not name.isprintable():
        return f"{name!r} cannot be a platform's name: no '/', no '.' in front, nothing unprintable"
    if len(os.fsencode(name)) > LONGEST_NAME:
        return f"{name!r} cannot be a platform's name: it has more than {LONGEST_NAME} bytes"
    return ""


def name_of(file: Path) -> str:
    """Return the name of the platform that a file describes: the file's, cut and cleaned to be one."""
    name = "".join(c if c.isprintable() else "_" for c in file.stem).lstrip(".") or "platform"
    if not why_no_name(name):
        return name
    digest = hashlib.sha256(os.fsencode(file.stem)).hexdigest()[:8]
    return os.fsencode(name)[: LONGEST_NAME - 9].decode(errors="ignore") + "-" + digest


class RunDirectory:
    """The directory of one platform, below `root`. Raises SegmentError if `name` cannot be a platform's."""

    def __init__(self, name: str, root: Path | None = None) -> None:
        if why := why_no_name(name):
            raise SegmentError(why)
        self.name = name
        self.path = (root or run_root()) / name
        self._lock: int | None = None
        self._folder = -1

    @property
    def prefix(self) -> str:
        """The prefix of the platform's segment names; "" if there is no such platform."""
        token = ""
        if self._lock is not None:
            token = _token(self._lock)
        else:
            with _opened(self.path) as (_, lock):
                token = _token(lock)
        return f"vre.{os.geteuid()}.{self.name}.{token}." if token else ""

    def acquire(self) -> None:
        """Create and lock the directory. Raises SegmentError if a live platform has it, or if it is not ours."""
        fresh = not os.path.lexists(self.path)
        try:
            self._folder = _make(self.path)
            self._lock = _lock(self._folder, self.path)
        except OSError as error:
            self._close()
            if fresh:
                with contextlib.suppress(OSError):
                    self.path.rmdir()
            raise SegmentError(f"cannot use the run directory {self.path}: {error.strerror}") from None
        except SegmentError:
            self._close()
            raise
        self._remove_contents()
        # One write, always of this length: a kill leaves the old mark or the new one.
        try:
            os.pwrite(self._lock, _MARK.format(secrets.token_hex(8)).encode(), 0)
        except OSError as error:
            self.release()
            raise SegmentError(f"cannot use the run directory {self.path}: {error.strerror}") from None

    def release(self) -> None:
        """Remove the segments and the directory, and control groups that its file `groups` lists."""
        if self._lock is None:
            return
        self._remove_contents()
        with contextlib.suppress(OSError):
            os.unlink("lock", dir_fd=self._folder)
            self.path.rmdir()
        self._close()

    def _close(self) -> None:
        for fd in (self._lock, self._folder):
            if fd is not None and fd >= 0:
                os.close(fd)
        self._lock, self._folder = None, -1

    def _remove_contents(self) -> None:
        """Remove what this or a dead platform has made; the directory is locked."""
        assert self._lock is not None
        token = _token(self._lock)
        for name in os.listdir("/dev/shm") if token else ():
            if name.startswith(f"vre.{os.geteuid()}.{self.name}.{token}."):
                with contextlib.suppress(posix_ipc.Error):
                    posix_ipc.unlink_shared_memory("/" + name)
        with contextlib.suppress(OSError):
            for group in (self.path / "groups").read_text().split("\n"):
                if group.startswith("/sys/fs/cgroup/") and ".." not in group:
                    with contextlib.suppress(OSError):
                        os.rmdir(group)
        for name in _FILES:
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=self._folder)
        for name in _FOLDERS:
            with contextlib.suppress(OSError):
                os.rmdir(name, dir_fd=self._folder)

    def write_manifest(self, manifest: Manifest) -> None:
        """Publish the manifest atomically. Raises OSError."""
        partial = self.path / "manifest.partial"
        partial.write_text(manifest.to_json())
        partial.replace(self.path / "manifest.json")

    def manifest(self) -> Manifest:
        """Return the manifest; raises SegmentError if no platform runs, or one of another version of vre."""
        try:
            return Manifest.from_json((self.path / "manifest.json").read_text())
        except VersionError as error:
            raise SegmentError(f"platform '{self.name}' is not of this version of vre: {error}") from None
        except (OSError, ValueError):
            raise SegmentError(f"no platform named '{self.name}' is running") from None

    def alive(self) -> bool:
        """Return whether a platform holds the lock."""
        with _opened(self.path) as (_, lock):
            return lock >= 0 and not _try_lock(lock)


def _ours(found: os.stat_result) -> bool:
    """Return whether only this user can have put something there."""
    return found.st_uid == os.geteuid() and not found.st_mode & 0o022


def _check_root(root: Path) -> None:
    """Raise SegmentError if another user could replace a run directory."""
    found = os.lstat(root)
    shared = found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (0, os.geteuid()) or shared:
        raise SegmentError(
            f"{root} is not a folder that only you or root can change; set VRE_RUN to a folder of your own"
        )


def _make(path: Path) -> int:
    """Make a run directory if it is not there; return it, open. Raises SegmentError, OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _check_root(path.parent)
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    if not _ours(os.fstat(folder)):
        os.close(folder)
        raise SegmentError(f"{path} belongs to another user, or others may write to it")
    return folder


def _lock(folder: int, path: Path) -> int:
    """Lock a run directory; return its lock file, open. Raises SegmentError, OSError."""
    lock = -1
    with contextlib.suppress(FileNotFoundError):
        lock = os.open("lock", os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    # A platform that is killed before it can mark its lock leaves that, empty, and nothing else.
    if (lock < 0 or not _token(lock)) and set(os.listdir(folder)) - {"lock"}:
        if lock >= 0:
            os.close(lock)
        raise SegmentError(f"{path} was not made by vre and is not empty: choose another name, or another VRE_RUN")
    if lock < 0:
        lock = os.open("lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
    end = time.monotonic() + _SWEEP_S
    while not _try_lock(lock):
        if time.monotonic() > end:
            os.close(lock)
            raise SegmentError(
                f"a platform named '{path.name}' is running (run directory {path}); "
                "stop it, or give this one another name with --name"
            )
        time.sleep(0.005)
    if os.fstat(lock).st_nlink == 0:
        os.close(lock)
        raise SegmentError(f"{path} has just been removed by another command; try again")
    return lock


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _token(lock: int) -> str:
    """Return the token in a lock file, "" if it is not one of ours."""
    found = os.fstat(lock)
    if not stat.S_ISREG(found.st_mode) or not _ours(found):
        return ""
    marked = _MARKED.fullmatch(os.pread(lock, 100, 0).decode(errors="replace"))
    return marked[1] if marked else ""


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[int, int]]:
    """Open a run directory and its lock file, (-1, -1) if it is not one of ours."""
    folder = lock = -1
    with contextlib.ExitStack() as opened:
        with contextlib.suppress(OSError):
            folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            opened.callback(os.close, folder)
            # A FIFO of that name would make an open for reading alone wait.
            lock = os.open("lock", os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            opened.callback(os.close, lock)
            if not _ours(os.fstat(folder)) or not _token(lock):
                folder = lock = -1
        yield (folder, lock) if lock >= 0 else (-1, -1)


def names() -> list[str]:
    """Return the names of all run directories of this user, of live and of dead platforms."""
    root = run_root()
    found = []
    try:
        entries = sorted(entry.name for entry in os.scandir(root) if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []
    for name in entries:
        if not why_no_name(name):
            with _opened(root / name) as (_, lock):
                if lock >= 0:
                    found.append(name)
    return found


def sweep() -> list[str]:
    """Remove what dead platforms of this user have left; return their names."""
    swept = []
    for name in names():
        directory = RunDirectory(name)
        if not directory.alive():
            with contextlib.suppress(SegmentError):
                directory.acquire()
                directory.release()
                swept.append(name)
    return swept
