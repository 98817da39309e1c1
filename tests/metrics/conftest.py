import os
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="module")
def released():
    """The outputs of DefenMI that its authors released."""
    folder = os.environ.get("MINDEFENSE_DATA")
    if folder is None:
        pytest.skip("MINDEFENSE_DATA is not set: the outputs that DefenMI's authors released are not here")
    with np.load(Path(folder) / "golden" / "defenmi_location_released.npz") as file:
        return {name: file[name] for name in ("clean_probs", "defended_probs", "g_clean", "g_defended", "is_member")}
