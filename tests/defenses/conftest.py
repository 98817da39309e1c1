import numpy as np
import pytest
from bulk_vectors import NOISED, PROBS

from mindefense.data.vectors import open_vectors


@pytest.fixture
def recorded(tmp_path):
    np.savez(tmp_path / "big.npz", probs=PROBS, noised_logits=NOISED)
    return open_vectors(tmp_path / "big.npz")
