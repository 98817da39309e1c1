"""Atomic writing of files: a reader sees the old file or the new file, never an incomplete one."""

from __future__ import annotations

import contextlib
import datetime
import glob
import hashlib
import json
import os
import platform
import shutil
import stat
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mindefense.errors import OutputError

_HOST = f"{zlib.crc32(platform.node().encode()):08x}"
_PART_FOLDERS: set[Path] = set()
"""Folders of files that are being written."""


@contextlib.contextmanager
def replacing(
    path: str | os.PathLike, *, fix: str = "choose a writable folder with free space", private: bool = False
) -> Iterator[Path]:
    """Yields a temporary path to write to; on success the file replaces `path`, on failure it is removed.

    Args:
        path: The file to write. Its folder is created if it does not exist, and then removed again on failure.
        fix: Advice in the message of a failure.
        private: Whether only the owner may read the file (mode 0600), even if others could read the file that it
            replaces; for files with the membership of single rows.

    Raises:
        OutputError: If the folder cannot be created or written, or the disk is full.
    """
    path = Path(path)
    # A separate folder, because writers may leave their own temporary files in it when the disk is full.
    part_folder = path.with_name(f".{path.name}.{_HOST}.{os.getpid()}.part")
    try:
        made = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
        try:
            part_folder.mkdir(parents=True, exist_ok=True)
            _PART_FOLDERS.add(part_folder)
            _sweep(part_folder, path.name)
            if private:
                (part_folder / path.name).unlink(missing_ok=True)  # left by an earlier process with the same pid
                # Created here, because a writer would make it readable for all; opening it later preserves the mode.
                os.close(
                    os.open(part_folder / path.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IRUSR | stat.S_IWUSR)
                )
            yield part_folder / path.name
            os.replace(part_folder / path.name, path)
        except BaseException:
            shutil.rmtree(part_folder, ignore_errors=True)
            for folder in made:
                with contextlib.suppress(OSError):  # the first error is the one to report
                    folder.rmdir()
            raise
        shutil.rmtree(part_folder, ignore_errors=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"cannot write {path}: {reason}", fix=fix) from error
    finally:
        _PART_FOLDERS.discard(part_folder)


def _sweep(part_folder: Path, name: str) -> None:
    """Removes incomplete versions of the same file that terminated processes of this host have left."""
    import psutil  # imported here because `mindefense doctor` must work without it

    for other in part_folder.parent.glob(f".{glob.escape(name)}.{_HOST}.*.part"):
        pid = other.name.removesuffix(".part").rpartition(".")[2]
        if other != part_folder and pid.isdecimal() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(other, ignore_errors=True)


def drop_unfinished() -> None:
    """Removes incomplete files; for a process that ends without exception handling."""
    for part_folder in list(_PART_FOLDERS):
        shutil.rmtree(part_folder, ignore_errors=True)


def write_text(path: str | os.PathLike, text: str, *, private: bool = False) -> None:
    """Atomically writes `text` as UTF-8; `private` as in `replacing`."""
    with replacing(path, private=private) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike, value: Mapping[str, Any]) -> None:
    """Atomically writes `value` as indented JSON, without NaN and infinity, for which it raises ValueError."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def check_writable(folder: str | os.PathLike) -> Path:
    """Creates `folder` and checks that a file can be written to it, before a long computation starts.

    Raises:
        OutputError: If it cannot.
    """
    folder = Path(folder)
    with replacing(folder / ".writable") as beside:
        beside.write_text("", encoding="utf-8")
    (folder / ".writable").unlink()
    return folder


def sha256_of_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def now() -> str:
    """The current time in UTC and ISO 8601, to the second."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
