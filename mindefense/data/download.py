"""Download of published data sets, checked by their digests; no incomplete file is left behind."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Generator
from pathlib import Path

from mindefense.data.registry import SOURCES
from mindefense.errors import DataError, InputError, OutputError
from mindefense.files import replacing

TIMEOUT = 30.0  # seconds without data
CHUNK = 1 << 16


def download(
    name: str,
    to: str | os.PathLike[str],
    *,
    url: str | None = None,
    progress: Callable[[int, int | None], object] | None = None,
) -> Path:
    """Downloads a data set, unless the correct file already exists.

    For Location, the permutation of the published experiments is a separate, optional file:
    ``data/location/shuffle_index.npz`` in github.com/tryIcatch/DefenMI. Its authors publish no digest, so download it
    by hand and put it into the folder of the data.

    Args:
        name: A key of `SOURCES`.
        to: Folder for the file; created if it does not exist.
        url: Another http(s) address of the same file, such as that of a mirror.
        progress: Called with the number of bytes so far and the total, None if the server does not report it.

    Returns:
        The path of the file.

    Raises:
        InputError: If `name` is unknown or `url` is not http(s).
        DataError: If the file cannot be downloaded, is truncated or has another digest, or another file of its name
            already exists.
        OutputError: If the file cannot be written. No file is left behind after any of these errors.
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
        raise OutputError(str(target), expected="a writable file", got=str(error), fix=by_hand) from error
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
    """Yields chunks with the number of bytes so far and the announced total; raises DataError for every failure."""
    import http.client  # imported here because these take longer to import than the rest of this package
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
