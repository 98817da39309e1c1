"""The site as `make docs` builds it: without a warning, without a network, every page in reach, on any screen."""

import functools
import http.server
import json
import re
import runpy
import shutil
import subprocess
import sys
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit
from xml.etree import ElementTree

import pytest
from sphinx.errors import ExtensionError

from mindefense.reports.report import OLDEST
from mindefense.reports.results import SCHEMA_VERSION

try:
    from selenium import webdriver
except ImportError:  # it is in the extra "test"
    webdriver = None

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.md"))
LOADED = {("script", "src"), ("link", "href"), ("img", "src"), ("iframe", "src"), ("source", "srcset")}


class Page(HTMLParser):
    """What a page names: identifiers, links, and what a browser loads with it."""

    def __init__(self, file):
        super().__init__()
        self.ids, self.links, self.loaded = set(), [], []
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids.add(attrs.get("id"))
        if tag == "a" and attrs.get("href"):
            self.links.append(attrs["href"])
        if tag != "link" or "stylesheet" in attrs["rel"] or "icon" in attrs["rel"] or "load" in attrs["rel"]:
            self.loaded += [value for name, value in attrs.items() if (tag, name) in LOADED and value]


def build(docs, out):
    """What `make docs` does, and what it says."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (options,) = re.findall(r"-m sphinx (.*) -d build/doctrees docs build/docs$", makefile, re.MULTILINE)
    command = [sys.executable, "-m", "sphinx", *options.split(), "-d", out / "doctrees", docs, out / "html"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    done = build(DOCS, out)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr
    return out / "html"


@pytest.fixture(scope="module")
def pages(site):
    """Pages of the site by path; the reports in results/ are theirs who made them."""
    return {name: Page(site / f"{name}.html") for name in (*PAGES, "genindex", "search")}


def test_styles_scripts_fonts_and_pictures_are_in_the_site(site, pages):
    for name, page in pages.items():
        assert page.loaded, name
        for address in page.loaded:
            assert not urlsplit(address).netloc, f"{name} loads {address}"
            assert (site / name).parent.joinpath(unquote(urlsplit(address).path)).resolve().is_file(), (name, address)
    for style in site.rglob("*.css"):
        loads = re.findall(r"url\(\s*['\"]?((?:https?:)?//[^)]*)|(@import[^;]*)", style.read_text(encoding="utf-8"))
        assert loads == [], style


def test_every_page_is_in_the_navigation(site, pages):
    start = (site / "index.html").read_text(encoding="utf-8")
    (navigation,) = re.findall(r'<div class="sidebar-tree">.*?</div>', start, re.DOTALL)
    listed = {urldefrag(link).url for link in re.findall(r'href="([^"]+)"', navigation)}
    assert {f"{name}.html" for name in PAGES if name != "index"} <= listed


def test_links_inside_the_site_lead_somewhere(site, pages):
    checked = 0
    for name, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            file = (site / name).parent.joinpath(unquote(parts.path)).resolve() if parts.path else site / f"{name}.html"
            assert file.is_file(), f"{name} links to {link}"
            anchor = unquote(parts.fragment)
            if anchor and file.suffix == ".html":
                there = pages.get(file.relative_to(site.resolve()).with_suffix("").as_posix())
                assert there is None or anchor in there.ids, f"{name} links to {link}"
            checked += 1
    assert checked > 1000


def test_links_work_where_the_files_lie_too():
    for page in (*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "README_CN.md"):
        text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            if not urlsplit(link).scheme and urldefrag(link).url:
                assert (page.parent / urldefrag(link).url).exists(), f"{page.relative_to(ROOT)} links to {link}"


def test_the_reference_has_every_public_name(pages):
    import mindefense

    ids = {identifier for page in pages.values() for identifier in page.ids if identifier}
    homes = {getattr(mindefense, name): name for name in mindefense.__all__ if not name.startswith("__")}
    missing = [name for name in homes.values() if not any(i.endswith(f".{name}") for i in ids)]
    assert missing == []


def test_commands_are_documented_with_options_and_examples(site, pages):
    from mindefense.cli import build_parser

    (commands,) = (action.choices for action in build_parser()._actions if action.dest == "command" or action.choices)
    text = (site / "api/commands.html").read_text(encoding="utf-8")
    for name, command in commands.items():
        for action in command._actions:
            for option in action.option_strings:
                assert f"mindefense-{name}-{option}" in pages["api/commands"].ids, (name, option)
    assert text.count("highlight-console") >= len(commands) - 1
    assert "%%" not in text
    assert "%(" not in text


def test_the_picture_of_the_threat_models_speaks_to_those_who_do_not_see_it():
    file = DOCS / "images/threat_models.svg"
    text, root = file.read_text(encoding="utf-8"), ElementTree.parse(file).getroot()
    said = {child.tag.rpartition("}")[2]: child.text for child in root}
    assert said["title"]
    for word in ("none", "shadow", "auditor", "static", "adaptive"):
        assert word in said["desc"]
    assert len(text) < 10_000
    assert re.findall(r"(?:href|url\(|@import)", text) == []


def stored():
    return [(path, json.loads(path.read_text(encoding="utf-8"))) for path in sorted(DOCS.glob("results/*/*.json"))]


@pytest.mark.parametrize(("path", "held"), stored(), ids=lambda value: value.stem if isinstance(value, Path) else "")
def test_results_pages_lead_to_reports_made_of_the_files_beside_them(path, held, site, pages):
    page = pages[f"results/{path.parent.name}/README"]
    report = (
        site / path.relative_to(DOCS).with_suffix("") / ("comparison.html" if "contenders" in held else "report.html")
    )
    if held["schema_version"] >= OLDEST:
        assert f"{path.stem}/{report.name}" in page.links
        assert held["dataset"] in report.read_text(encoding="utf-8")
    else:
        assert not report.exists()
        text = (site / f"results/{path.parent.name}/README.html").read_text(encoding="utf-8")
        assert path.name in text


def small(folder, *, results):
    """A folder of pages with the site's own configuration and these results."""
    (folder / "docs/results/mine").mkdir(parents=True)
    shutil.copy(DOCS / "conf.py", folder / "docs")
    shutil.copytree(DOCS / "_static", folder / "docs/_static")
    for name, held in results.items():
        (folder / "docs/results/mine" / name).write_text(json.dumps(held), encoding="utf-8")
    (folder / "docs/index.md").write_text("# x\n\n```{toctree}\nresults/mine/README\nresults/mine/more\n```\n")
    (folder / "docs/results/mine/README.md").write_text("# Mine\n\nText.\n")
    (folder / "docs/results/mine/more.md").write_text("# More\n\n[above](../../../README.md)\n")
    (folder / "README.md").write_text("# top\n")
    return folder / "docs"


def test_reports_of_stored_results(tmp_path):
    files = [held for _, held in stored() if held["schema_version"] >= OLDEST]
    held, comparison = (next(file for file in files if kind in file) for kind in ("attacks", "contenders"))
    docs = small(tmp_path, results={"a.json": held, "b.json": comparison, "old.json": {**held, "schema_version": 2}})
    done = build(docs, tmp_path / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    html = tmp_path / "out/html/results/mine"
    page = Page(html / "README.html")
    assert {"a/report.html", "b/comparison.html"} <= set(page.links)
    assert (html / "a/report.html").is_file()
    assert (html / "b/comparison.html").is_file()
    assert "old.json" in (html / "README.html").read_text(encoding="utf-8")
    assert not (html / "old").exists()
    assert "../../index.html" in Page(html / "more.html").links


def test_names_of_ours_that_lead_nowhere_stop_the_build(tmp_path):
    docs = small(tmp_path, results={})
    text = "`mindefense.nosuch.Thing` and `NoSuchThing`, but not `samples`, `torch.Tensor` or `mindefense.found.Held`"
    page = f"# Mine\n\n```{{eval-rst}}\n{text}, `Held`\n\n.. py:class:: mindefense.found.Held\n```\n"
    (docs / "results/mine/README.md").write_text(page)
    done = build(docs, tmp_path / "out")
    assert done.returncode != 0
    missing = re.findall(r"reference target not found: (\S+)", done.stderr)
    assert missing == ["mindefense.nosuch.Thing", "NoSuchThing"], done.stderr
    assert (tmp_path / "out/html/results/mine/README.html").read_text().count('title="mindefense.found.Held"') == 2


@pytest.mark.parametrize("version", [SCHEMA_VERSION + 1, 0, None, "4"])
def test_results_of_an_unknown_schema_stop_the_build(version, tmp_path):
    (tmp_path / "strange.json").write_text(json.dumps({"schema_version": version, "attacks": []}))
    with pytest.raises(ExtensionError, match=rf"strange\.json.*expected 1 to {SCHEMA_VERSION}, got {version!r}"):
        runpy.run_path(str(DOCS / "conf.py"))["stored_results"](tmp_path)


# ------------------------------------------------------------------------------------------------------- in a browser

BROWSER, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage")
in_a_browser = pytest.mark.skipif(
    webdriver is None or not (BROWSER and DRIVER),
    reason="no browser to look with: apt-get install chromium chromium-driver, pip install selenium",
)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def phone(site, tmp_path_factory):
    """Opens a page of the site on a phone."""
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    metrics = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def see(name, scheme="light"):
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            features = [{"name": "prefers-color-scheme", "value": scheme}]
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
            browser.get(f"http://127.0.0.1:{server.server_port}/{name}.html")
            return browser

        yield see
        browser.quit()
        server.shutdown()


@in_a_browser
@pytest.mark.parametrize("name", PAGES)
def test_pages_do_not_scroll_sideways_on_a_phone(name, phone):
    browser = phone(name)
    width = browser.execute_script("return document.documentElement.scrollWidth")
    assert width == 360
    assert [entry for entry in browser.get_log("browser") if "favicon" not in entry["message"]] == []
    outside = browser.execute_script(
        "return [...document.querySelectorAll('article *')].filter(e => !e.closest('.table-wrapper, pre, .headerlink') "
        "&& e.getBoundingClientRect().right > 361).map(e => e.outerHTML.slice(0, 200))"
    )
    assert outside == []


@in_a_browser
def test_dark_is_dark_and_links_are_blue(phone):
    def colors(scheme):
        found = phone("threat_models", scheme).execute_script(
            "const c = s => getComputedStyle(document.querySelector(s)); "
            "return [c('body').backgroundColor, c('article p a').color]"
        )
        return [[int(part) for part in re.findall(r"\d+", color)[:3]] for color in found]

    for scheme in ("light", "dark"):
        paper, link = colors(scheme)
        assert (sum(paper) > 600) == (scheme == "light")
        assert link[2] > link[1] > link[0], "blue"


@in_a_browser
def test_copying_a_command_leaves_its_prompt_out(phone):
    copied = phone("tutorials/location").execute_script(
        "const copied = []; document.execCommand = () => "
        "copied.push([...document.querySelectorAll('textarea')].pop().value); "
        "document.querySelectorAll('.highlight-console .copybtn').forEach(e => e.click()); return copied"
    )
    assert "mindefense download location --to data/location" in copied
    assert not any("$" in text for text in copied)
