"""Readers of pages, one a page: what a page's blocks leave behind is there for all tests of that page."""

import contextlib

import pytest
from brought import Shelf
from pages import page
from running import Reader
from settings import EXEMPT, PAGES, Setting


@pytest.fixture(scope="session")
def shelf(tmp_path_factory):
    """What readers share."""
    with contextlib.closing(Shelf(tmp_path_factory.mktemp("shelf"))) as shared:
        yield shared


@pytest.fixture(scope="session")
def reader(shelf, tmp_path_factory):
    """Path of a page → its reader, who has read nothing yet the first time that it is asked for."""
    readers = {}

    def reader_of(name):
        if name not in readers:
            setting = PAGES.get(name, Setting())
            folder = tmp_path_factory.mktemp(name.replace("/", "-").removesuffix(".md"))
            readers[name] = Reader(page(name), folder, setting, {**EXEMPT, **setting.exempt}, shelf)
        return readers[name]

    return reader_of
