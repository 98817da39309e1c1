"""What was judged and when, so that results can be held against the files they are about."""

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
    """The evidence of an evaluation that ends now.

    Args:
        answers: The evaluation's rows.
        network: Class of the network; None for recorded outputs.
        parameters: Its number of parameters; None for recorded outputs.
        digests: SHA-256, hex, of what was judged, by name; None for what is not there.
    """
    known = {name: digest for name, digest in digests.items() if digest is not None}
    return Evidence(
        created=now(), network=network, parameters=parameters, digests={**known, "members": digest_of_members(answers)}
    )


def digest_of_members(answers: Outputs) -> str:
    """SHA-256, hex, of the members' indices in rising order, as little-endian 64-bit integers."""
    members = np.sort(answers.indices[answers.is_member]).astype("<i8")
    return hashlib.sha256(members.tobytes()).hexdigest()
