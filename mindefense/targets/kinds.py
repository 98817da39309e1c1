"""Recognizes the kinds of models that a user may pass, without importing frameworks that are not in use."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from mindefense.errors import InputError
from mindefense.targets.base import Model, Target
from mindefense.targets.function import FunctionTarget

EXPECTED = (
    "a trained model: a MindSpore Cell, a PyTorch module, a fitted scikit-learn classifier, a function from samples to "
    "probabilities, or FunctionTarget(f, gives=…)"
)


class ClassifierTarget(FunctionTarget):
    """A fitted scikit-learn classifier as a target: a column for each class from 0 to the largest that its fit saw.

    Args:
        classifier: With ``predict_proba`` and ``classes_``.
        name: What to call it in messages.

    Raises:
        InputError: If it is not fitted or its classes are not numbered from 0.
    """

    def __init__(self, classifier: Any, name: str):
        super().__init__(_by_class(classifier, name), name=type(classifier).__name__)


def model_of(given: Any, *, name: str = "target") -> Model:
    """Converts an object of any framework to a `Model`.

    Args:
        given: A `Model` such as ``Network`` or ``TorchTarget``; a MindSpore Cell or PyTorch module from samples to
            logits; a `Target`; a fitted scikit-learn classifier with ``predict_proba``; or a function from samples to
            probabilities.
        name: Name in messages.

    Raises:
        InputError: If it is none of these, a class instead of an object, or a classifier that is not fitted or whose
            classes are not numbered from 0.
    """
    if isinstance(given, Model):
        return given
    if isinstance(given, type):
        fix = f"make an object, as in {given.__name__}(), and load its parameters"
        raise InputError(name, expected=EXPECTED, got=f"the class {given.__name__}", fix=fix)
    if isinstance(given, Target):
        return FunctionTarget(given.query, gives="log_probs", name="Target")
    if _is_of(given, "mindspore.nn", "Cell"):
        from mindefense.targets.cell import Network

        return Network(given)
    if _is_of(given, "torch.nn", "Module"):
        from mindefense.targets.torch import TorchTarget

        return TorchTarget(given)
    if hasattr(given, "predict_proba"):
        return ClassifierTarget(given, name)
    if _is_of(given, "mindspore", "Model"):
        raise InputError(name, expected=EXPECTED, got="an ms.Model", fix="pass the network in it")
    if hasattr(given, "decision_function") and hasattr(given, "fit"):
        fix = "wrap it in sklearn.calibration.CalibratedClassifierCV, or give a function of its decision_function"
        raise InputError(name, expected=EXPECTED, got=f"a {type(given).__name__} without predict_proba", fix=fix)
    if callable(given):
        return FunctionTarget(given)
    raise InputError(name, expected=EXPECTED, got=type(given).__name__)


def _is_of(given: Any, module: str, kind: str) -> bool:
    """Whether it is an instance of a framework's class; the framework is then already imported."""
    held = getattr(sys.modules.get(module), kind, None)
    return held is not None and isinstance(given, held)


def _by_class(classifier: Any, name: str):
    """``predict_proba`` with a column for each class from 0 on, including classes that were absent in the fit."""
    if not hasattr(classifier, "classes_"):
        raise InputError(name, expected="a fitted classifier", got=f"a {type(classifier).__name__} without classes_")
    classes = np.asarray(classifier.classes_)
    if classes.dtype.kind not in "iu" or classes.min() < 0:
        fix = "number the classes from 0 and fit it again, as sklearn.preprocessing.LabelEncoder does"
        got = repr(classes[0].item())
        raise InputError(f"classes of the {name}", expected="whole numbers from 0", got=got, fix=fix)

    def respond(samples: np.ndarray) -> np.ndarray:
        answers = classifier.predict_proba(samples)
        if len(classes) == classes.max() + 1:
            return answers
        probs = np.zeros((len(answers), int(classes.max()) + 1))
        probs[:, classes] = answers
        return probs

    return respond
