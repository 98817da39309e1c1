import shutil

import pytest


@pytest.fixture
def tmp_path(tmp_path):
    """The usual one, emptied after each test: pytest keeps three sessions' worth, and these files are large."""
    yield tmp_path
    shutil.rmtree(tmp_path, ignore_errors=True)
