"""Seconds of several ways to do the same, measured in turns, since a machine is not equally fast all the time."""

import time
from collections.abc import Callable, Mapping

import numpy as np


def in_turns(ways: Mapping[str, Callable[[], object]], turns: int) -> dict[str, np.ndarray]:
    """``(turns,)`` float64 seconds of each way."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(turns):
        for name, work in ways.items():
            began = time.perf_counter()
            work()
            found[name].append(time.perf_counter() - began)
    return {name: np.array(taken) for name, taken in found.items()}
