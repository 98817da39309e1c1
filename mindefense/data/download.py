"""Fetching published data: checked against a digest, and either complete or not there."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Generator
from pathlib import Path

from mindefense.data.registry import SOURCES
from mindefense.errors import DataError, InputError, OutputError
from mindefense.files import replacing

TIMEOUT = 30.0  # seconds without a byte
CHUNK = 1 << 16


def download(
    name: str,
    to: str | os.PathLike[str],
    *,
    url: str | None = None,
    progress: Callable[[int, int | None], object] | None = None,
) -> Path:
    """Fetches a data set, unless the right file is there already.

    For Location, the permutation of the published experiments is a file of its own and optional: it is
    ``data/location/shuffle_index.npz`` in github.com/tryIcatch/DefenMI, and no digest of it is published, so take it
    by hand and put it beside the data.

    Args:
        name: A key of `SOURCES`.
        to: Folder for the file; made if need be.
        url: Another http(s) address of the same file, such as a mirror's.
        progress: Called with the bytes fetched so far and all bytes, None if the server did not say.

    Returns:
        The file.

    Raises:
        InputError: Unknown `name`, or `url` is not http(s).
        DataError: The file could not be fetched, came cut short or with another digest, or another file of its name
            is in the way.
        OutputError: The file could not be written. In every case nothing new is left behind.
    """
    if name not in SOURCES:
        raise InputError("download", expected=f"one of {', '.join(SOURCES)}", got=repr(name))
    source = SOURCES[name]
    address = source.url if url is None else url
    if not address.lower().startswith(("http://", "https://")):
        raise InputError("url", expected="an http:// or https:// address", got=repr(address))
    target = Path(to) / source.file_name
    by_hand = f"fetch {source.url} by hand and put it at {target}"
    expected = f"{source.algorithm} {source.digest}"
    try:
        found = _digest(target, source.algorithm) if target.exists() else None
    except OSError as error:
        raise OutputError(str(target), expected="a place to write to", got=str(error), fix=by_hand) from error
    if found == source.digest:
        return target
    if found is not None:
        fix = f"delete it or move it away, then download again, or {by_hand}"
        raise DataError(str(target), expected=expected, got=found, fix=fix)
    chunks = contextlib.closing(_chunks(address, source.size, by_hand))
    with chunks as arriving, replacing(target, fix=by_hand) as part, part.open("wb") as sink:
        hasher = hashlib.new(source.algorithm)
        for chunk, done, total in arriving:
            sink.write(chunk)
            hasher.update(chunk)
            if progress is not None:
                progress(done, total)
        if hasher.hexdigest() != source.digest:
            raise DataError(address, expected=expected, got=hasher.hexdigest(), fix=by_hand)
    return target


def _chunks(address: str, size: int, by_hand: str) -> Generator[tuple[bytes, int, int | None], None, None]:
    """The bytes at an address with their running and their announced number; all that goes wrong is a DataError."""
    import http.client  # these two take longer to import than all the rest of this package
    import urllib.error
    import urllib.request

    done, total = 0, None
    try:
        with urllib.request.urlopen(address, timeout=TIMEOUT) as response:
            total = response.length
            while chunk := response.read(CHUNK):
                done += len(chunk)
                if done > size:
                    break
                yield chunk, done, total
    except urllib.error.HTTPError as error:
        error.close()
        raise DataError(address, expected="the file", got=f"HTTP {error.code} {error.reason}", fix=by_hand) from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise DataError(address, expected="an answer", got=str(reason) or repr(reason), fix=by_hand) from error
    if done > size:
        raise DataError(address, expected=f"{size:,} bytes", got="more", fix=by_hand)
    if total is not None and done < total:
        raise DataError(address, expected=f"{total:,} bytes", got=f"{done:,} before the connection ended", fix=by_hand)


def _digest(file: Path, algorithm: str) -> str:
    hasher = hashlib.new(algorithm)
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            hasher.update(chunk)
    return hasher.hexdigest()
