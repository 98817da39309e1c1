"""Digests and date of an evaluation, by which its results can be matched with the files they were computed from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from mindefense.files import now
from mindefense.types import Evidence, Outputs


def evidence_of(
    answers: Outputs,
    *,
    network: str | None = None,
    parameters: int | None = None,
    digests: Mapping[str, str | None],
) -> Evidence:
    """The evidence of an evaluation, with the current time.

    Args:
        answers: The answers to the evaluation's rows.
        network: Class name of the network; None for recorded outputs.
        parameters: Its number of parameters; None for recorded outputs.
        digests: Hexadecimal SHA-256 of the evaluated files, by name; entries of None are left out.
    """
    known = {name: digest for name, digest in digests.items() if digest is not None}
    return Evidence(
        created=now(), network=network, parameters=parameters, digests={**known, "members": digest_of_members(answers)}
    )


def digest_of_members(answers: Outputs) -> str:
    """Hexadecimal SHA-256 of the members' indices in ascending order, as little-endian 64-bit integers."""
    members = np.sort(answers.indices[answers.is_member]).astype("<i8")
    return hashlib.sha256(members.tobytes()).hexdigest()
