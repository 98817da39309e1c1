"""Against the outputs of the published programs on Location; the bounds are those of docs/algorithm.md."""

import mindspore as ms
import numpy as np
import pytest
from toy_defenses import l1

from mindefense.defenses import DefenderClassifier, DefenMI, DefenMIConfig, MemGuard, class_mean_probs


class Golden:
    """One golden file, the defense built from it, and the bounds it must keep."""

    def __init__(self, golden, name):
        if name == "defenmi":
            self.held = golden("defenmi_location_released")
            self.start = self.held["start_logits"]
            self.median, self.share, self.distortion = 1e-5, 0.98, pytest.approx(0.3326, abs=0.0005)
        else:
            self.held = golden("memguard_location_even_rows")
            self.start = self.held["clean_logits"]
            self.median, self.share, self.distortion = 2e-4, 0.92, pytest.approx(0.303, abs=0.001)
        self.clean = self.held["clean_probs"]
        self.classifier = DefenderClassifier.from_weights(self.held["layers"])
        if name == "defenmi":
            means = class_mean_probs(np.log(self.clean))
            self.defense = DefenMI(self.classifier, means, DefenMIConfig(alignment="published"))
        else:
            self.defense = MemGuard(self.classifier)

    def check(self, probs, rows=slice(None)):
        away = l1(probs, self.held["defended_probs"][rows])
        assert np.median(away) <= self.median
        assert (away < 1e-3).mean() >= self.share
        np.testing.assert_array_equal(probs.argmax(axis=1), self.clean[rows].argmax(axis=1))
        if rows == slice(None):
            assert l1(probs, self.clean).mean() == self.distortion
        else:
            stored = l1(self.held["defended_probs"][rows], self.clean[rows]).mean()
            assert l1(probs, self.clean[rows]).mean() == pytest.approx(stored, abs=0.001)


@pytest.fixture(scope="module", params=["defenmi", "memguard"])
def published(request, golden):
    return Golden(golden, request.param)


def test_reshape(published):
    published.check(published.defense.reshape(published.clean, published.start))


def test_construct(published):
    rows = slice(None, None, 4)  # it works on all rows until the slowest is done
    clean_logits, start_logits = np.float32(np.log(published.clean[rows])), np.float32(published.start[rows])
    log_probs = published.defense(ms.Tensor(clean_logits), ms.Tensor(start_logits)).asnumpy()
    published.check(np.exp(np.float64(log_probs)), rows)


def test_classifier(published):
    for probs, g in (("clean_probs", "g_clean"), ("defended_probs", "g_defended")):
        found = published.classifier.member_probability(published.held[probs])
        assert (found.shape, found.dtype) == (published.held[g].shape, np.float32)
        np.testing.assert_allclose(found, published.held[g], atol=1e-5)


def test_corrected_alignment_stays_nearer(published):
    if published.defense.name == "memguard":
        pytest.skip("alignment makes no difference to MemGuard")
    corrected = DefenMI(published.classifier, published.defense.class_mean_probs)
    rows = slice(None, None, 8)
    probs = corrected.reshape(published.clean[rows], published.start[rows], workers=1)
    np.testing.assert_array_equal(probs.argmax(axis=1), published.clean[rows].argmax(axis=1))
    # It compares class with class, so it ends nearer to the class's mean vector than the published program does.
    means = published.defense.class_mean_probs[published.clean[rows].argmax(axis=1)]
    assert l1(probs, means).mean() < l1(published.held["defended_probs"][rows], means).mean()
