import shutil

import pytest
from cifar100_files import TEST, TRAIN

from mindefense.data import make_cifar_like


@pytest.fixture
def tmp_path(tmp_path):
    """The usual one, emptied after each test: pytest keeps three sessions' worth, and these files are large."""
    yield tmp_path
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.fixture(scope="module")
def made():
    """Made-up images in place of CIFAR-100."""
    return make_cifar_like(3, train=TRAIN, test=TEST)
