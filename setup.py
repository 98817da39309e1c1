"""Packaging: metadata, pins and the console script."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+?)"', (HERE / "mindefense/__init__.py").read_text(encoding="utf-8"))
assert VERSION is not None
DOCS = ["sphinx>=8.1", "myst-parser>=4", "furo>=2024.8", "sphinx-copybutton>=0.5.2", "sphinx-argparse-cli>=1.19"]

setup(
    name="mindefense",
    version=VERSION.group(1),
    description="Membership inference attacks on MindSpore models, the DefenMI defense, and what remains after it",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["mindefense", "mindefense.*"]),
    package_data={"mindefense": ["py.typed"], "mindefense.reports": ["templates/*", "results.schema.json"]},
    python_requires=">=3.10,<3.13",
    # One requirement set on purpose: installed one after the other, mindarmour pulls in numpy 2, which breaks
    # mindspore.dataset. MindSpore 2.9 and 2.10 have a CPU Conv2d that is tens of times slower than 2.8's.
    install_requires=[
        "mindspore>=2.7.1,<2.9",
        "mindarmour==2.0.*",
        "numpy>=1.26,<2",
        "scikit-learn>=1.4,<1.10",
        "scipy>=1.11",
        "dp-accounting>=0.4,<0.7",
        "joblib>=1.3",
        "threadpoolctl>=3.1",
        "psutil>=5.9",
        "rich>=13",
        "jinja2>=3.1",
        "matplotlib>=3.8",
        "shtab>=1.7",
        'tomli>=2; python_version < "3.11"',  # tomllib before it was in Python
    ],
    extras_require={
        "docs": DOCS,
        "torch": ["torch>=2.1"],  # for evaluate() of a live PyTorch module; recorded outputs need none
        "test": [
            "pytest>=8",
            "pytest-xdist>=3.7",
            "hypothesis>=6",
            "ruff>=0.6",
            "pyright>=1.1.380",
            "selenium>=4.20",
            "axe-core-python>=0.1",
            "markdown-it-py>=3",
            "syrupy>=4.7",
            "jsonschema>=4.18",
            "pandas>=2.1,<3",  # newer ones want NumPy 2
            *DOCS,
        ],
    },
    entry_points={"console_scripts": ["mindefense=mindefense.cli:main"]},
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Security",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
