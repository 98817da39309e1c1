"""The report as people see it: in a real browser, headless, on a desk, on a phone, in the dark and on paper.

What a notebook shows of an evaluation is looked at too, in a page with the rules that JupyterLab has for tables.
"""

import functools
import http.server
import importlib.util
import itertools
import json
import shutil
import threading
from pathlib import Path

import pytest

from mindefense.reports.report import write_report

try:
    from selenium import webdriver
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
except ImportError:  # it is in the extra "test"
    webdriver = None
BROWSER, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    webdriver is None or not (BROWSER and DRIVER),
    reason="no browser to look with: apt-get install chromium chromium-driver, pip install selenium",
)

AXE = importlib.util.find_spec("axe_core_python")
DESK, PHONE = (1200, 900), (360, 740)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
)


class Site(http.server.ThreadingHTTPServer):
    """Serves a folder, and remembers what was asked for."""

    def __init__(self, folder):
        self.asked = []
        super().__init__(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))


class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        super().do_GET()

    def log_message(self, *args):
        pass


JUPYTER = """
.jp-RenderedHTMLCommon { font-family: sans-serif; font-size: 14px; line-height: 1.4; padding-right: 20px; }
.jp-RenderedHTMLCommon p { text-align: left; margin: 0 0 1em; }
.jp-RenderedHTMLCommon table { border-collapse: collapse; font-size: 12px; table-layout: fixed; margin: 0 auto 1em; }
.jp-RenderedHTMLCommon :is(td, th) { text-align: right; vertical-align: middle; white-space: normal; padding: 0.5em; }
.jp-RenderedHTMLCommon tbody tr:nth-child(odd) { background: #f5f5f5; }
"""
"""What JupyterLab says of HTML below a cell, as far as it could be in the way."""


def notebook(evaluations, *, light):
    """A page like a notebook with these evaluations, one below the other."""
    cells = "".join(f'<div class="jp-RenderedHTMLCommon">{one._repr_html_()}</div>' for one in evaluations)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>x</title><link rel="icon" href="data:,">'
        f'<style>{JUPYTER}</style><body data-jp-theme-light="{str(light).lower()}">{cells}'
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory, smoke_run, recorded_alone, stored_comparison, found, found_alone):
    """A page of each kind that looks different, served."""
    folder = tmp_path_factory.mktemp("pages")
    kinds = {
        "evaluation": json.loads((smoke_run / "results.json").read_text(encoding="utf-8")),
        "comparison": stored_comparison,
        "long": {**recorded_alone, "dataset": "W" * 300},
    }
    for name, results in kinds.items():
        html, _ = write_report(results, folder / name)
        html.rename(folder / f"{name}.html")
    for name, light in (("notebook", True), ("dark_notebook", False)):
        (folder / f"{name}.html").write_text(notebook((found, found_alone), light=light), encoding="utf-8")
    with Site(folder) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        yield site
        site.shutdown()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield browser
    browser.quit()


@pytest.fixture
def see(browser, site):
    """Opens a page in a window of a size and a color scheme."""

    def see(name, size=DESK, scheme="light", media=""):
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == PHONE}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
        for kind in ("browser", "performance"):
            browser.get_log(kind)
        site.asked.clear()
        browser.get(f"http://127.0.0.1:{site.server_port}/{name}.html")
        return browser

    return see


PAGES = ("evaluation", "comparison", "long")


def asked_for(browser):
    """Addresses that the browser wanted since the page was opened, in its cache or not."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    return [url for url in asked if not url.startswith("data:")]


@pytest.mark.parametrize("name", PAGES)
def test_page_asks_for_nothing_and_complains_of_nothing(name, see, site):
    browser = see(name)
    assert site.asked == [f"/{name}.html"]
    assert browser.get_log("browser") == []
    assert asked_for(browser) == [browser.current_url]


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("size", [PHONE, DESK, (2000, 1000)], ids=str)
def test_page_does_not_scroll_sideways(name, size, see):
    browser = see(name, size)
    width, seen = browser.execute_script(
        "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert width <= seen <= size[0]
    # Nothing sticks out either, but in boxes that scroll on their own.
    outside = browser.execute_script(
        "return [...document.querySelectorAll('body *')].filter(e => !e.closest('.box, .skip, .unseen, svg *') "
        "&& e.getBoundingClientRect().right > document.documentElement.clientWidth + 1).map(e => e.outerHTML)"
    )
    assert outside == []


def test_text_in_pictures_can_be_read_on_a_phone(see):
    browser = see("evaluation", PHONE)
    sizes = browser.execute_script(
        "return [...document.querySelectorAll('svg text')].map(e => parseFloat(getComputedStyle(e).fontSize) "
        "* e.ownerSVGElement.getBoundingClientRect().width / e.ownerSVGElement.viewBox.baseVal.width)"
    )
    assert len(sizes) > 40
    assert min(sizes) >= 8


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("size", [PHONE, DESK], ids=str)
def test_text_in_pictures_stays_inside(name, size, see):
    outside = see(name, size).execute_script(
        "return [...document.querySelectorAll('svg text')].filter(e => { const a = e.getBoundingClientRect(), "
        "b = e.ownerSVGElement.getBoundingClientRect(); "
        "return a.left < b.left - 1 || a.right > b.right + 1 || a.top < b.top - 1 || a.bottom > b.bottom + 1; })"
        ".map(e => e.textContent)"
    )
    assert outside == []


def column(browser, table, number):
    return browser.execute_script(
        "return [...document.querySelectorAll(`#table-${arguments[0]} tbody tr`)]"
        ".map(row => row.cells[arguments[1]].textContent)",
        table,
        number,
    )


def head(browser, table, number):
    return browser.find_element(By.CSS_SELECTOR, f"#table-{table} th:nth-child({number + 1})")


def numbers(texts):
    return [float(text.strip("†").replace(",", "")) for text in texts if text != "–"]


def test_tables_sort_by_click(see):
    browser = see("evaluation")
    auc, before = 5, column(browser, "attackers", 5)
    assert head(browser, "attackers", 3).get_attribute("aria-sort") == "descending"
    for order in ("descending", "ascending", "descending"):
        head(browser, "attackers", auc).find_element(By.TAG_NAME, "button").click()
        assert head(browser, "attackers", auc).get_attribute("aria-sort") == order
        assert head(browser, "attackers", 3).get_attribute("aria-sort") is None
        seen = column(browser, "attackers", auc)
        assert sorted(seen) == sorted(before)
        assert numbers(seen) == sorted(numbers(seen), reverse=order == "descending")
    assert numbers(before) != numbers(seen)


def test_tables_sort_by_keyboard(see):
    browser = see("evaluation")
    button = head(browser, "attackers", 0).find_element(By.TAG_NAME, "button")
    browser.execute_script("arguments[0].focus()", button)
    for key, order in ((Keys.ENTER, "ascending"), (Keys.SPACE, "descending")):
        browser.switch_to.active_element.send_keys(key)
        assert head(browser, "attackers", 0).get_attribute("aria-sort") == order
        names = column(browser, "attackers", 0)
        assert names[0].startswith("a" if order == "ascending" else "stacked")
    browser.switch_to.active_element.send_keys(Keys.TAB)
    assert browser.switch_to.active_element.text == "learned from"


def test_what_is_not_known_is_sorted_last_and_numbers_as_numbers(see):
    browser = see("evaluation")
    precision = 9
    assert "–" in column(browser, "attackers", precision)
    for _ in range(2):
        head(browser, "attackers", precision).find_element(By.TAG_NAME, "button").click()
        seen = column(browser, "attackers", precision)
        assert all(text == "–" for text in seen[len(numbers(seen)) :])
    head(browser, "parts", 0).find_element(By.TAG_NAME, "button").click()
    parts = [part for part in column(browser, "parts", 0) if part.startswith("class ")]
    classes = [int(part.split()[1]) for part in parts if part.split()[1].isdecimal()]
    assert max(classes) >= 10
    assert classes == sorted(classes)


def colors(browser):
    return browser.execute_script(
        "const c = s => getComputedStyle(document.querySelector(s)); return [c('body').backgroundColor, "
        "c('body').color, c('svg text').fill, c('#answers .short').color]"
    )


def brightness(color):
    return sum(int(part) for part in color.strip("rgb()").split(",")[:3]) / 765


def test_dark_mode_is_dark_and_paper_is_not(see):
    light, dark = colors(see("evaluation")), colors(see("evaluation", scheme="dark"))
    paper = colors(see("evaluation", scheme="dark", media="print"))
    assert not set(light) & set(dark)
    for back, *front in (light, dark, paper):
        for color in front:
            assert abs(brightness(back) - brightness(color)) > 0.35
    assert brightness(dark[0]) < 0.2
    assert brightness(light[0]) == brightness(paper[0]) == 1


def test_paper_shows_whole_tables(see):
    browser = see("evaluation", media="print")
    cut = "return [...document.querySelectorAll('.box')].some(b => getComputedStyle(b).overflow !== 'visible')"
    assert browser.execute_script(cut) is False
    assert browser.execute_script("return getComputedStyle(document.querySelector('nav')).display") == "none"


@pytest.mark.parametrize("name", PAGES)
def test_everything_has_a_name_for_those_who_do_not_see_it(name, see):
    browser = see(name)
    browser.execute_cdp_cmd("Accessibility.enable", {})
    nodes = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    wanted = {"image", "img", "button", "link", "table", "region", "navigation", "columnheader"}
    found = {}
    for node in nodes:
        role = node.get("role", {}).get("value")
        if role in wanted and not node["ignored"]:
            found.setdefault(role, []).append(node.get("name", {}).get("value", ""))
    assert len(found.get("image", [])) + len(found.get("img", [])) == len(browser.find_elements(By.TAG_NAME, "svg"))
    for role, names in found.items():
        assert all(names), role
    levels = [int(e.tag_name[1]) for e in browser.find_elements(By.CSS_SELECTOR, "h1, h2, h3")]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


@pytest.mark.skipif(AXE is None, reason='axe-core is in the extra "test"')
@pytest.mark.parametrize("name", ["evaluation", "comparison"])
@pytest.mark.parametrize(("size", "scheme"), [(DESK, "light"), (PHONE, "dark")], ids=str)
def test_axe_finds_nothing_that_shuts_somebody_out(name, size, scheme, see):
    browser = see(name, size, scheme)
    browser.execute_script((Path(AXE.origin).parent / "axe.min.js").read_text(encoding="utf-8"))
    found = browser.execute_async_script("axe.run(document, {resultTypes: ['violations']}).then(arguments[0])")
    assert len(found["passes"]) > 20
    assert [(fault["id"], [node["target"] for node in fault["nodes"]]) for fault in found["violations"]] == []


def test_names_stay_in_sight_while_the_matrix_scrolls(see):
    browser = see("comparison", PHONE)
    places = browser.execute_script(
        "const box = document.querySelector('#matrix .box'); box.scrollLeft = 400; "
        "const at = e => e.getBoundingClientRect().left - box.getBoundingClientRect().left; "
        "return [box.scrollWidth > box.clientWidth, box.scrollLeft, at(box.querySelector('tbody th')), "
        "at(box.querySelector('thead th')), at(box.querySelector('tbody td'))]"
    )
    assert places[0] is True
    assert places[1] == 400
    assert places[2] == pytest.approx(1, abs=1)  # the border
    assert places[3] == pytest.approx(1, abs=1)
    assert places[4] < 0


def test_matrix_sorts_by_a_defense(see):
    browser = see("comparison")
    before = numbers(column(browser, "matrix", 4))
    head(browser, "matrix", 4).find_element(By.TAG_NAME, "button").click()
    seen = numbers(column(browser, "matrix", 4))
    assert seen == sorted(before, reverse=True) != before
    deepest = browser.execute_script(
        "return [...document.querySelectorAll('#table-matrix tbody tr')].map(r => r.cells[4].className)"
    )
    assert "tint5" in deepest[0]


@pytest.mark.parametrize(("name", "table"), [("comparison", "contenders"), ("evaluation", "attackers")])
def test_wide_tables_keep_their_last_column_in_sight_on_a_desk(name, table, see):
    browser = see(name)
    assert browser.execute_script(
        "const box = document.querySelector(`#${arguments[0]} .box`); return box.scrollWidth <= box.clientWidth + 1",
        table,
    )


@pytest.mark.parametrize("size", [DESK, PHONE], ids=str)
def test_a_notebook_shows_an_evaluation_whole_and_asks_for_nothing(size, see):
    browser = see("notebook", size)
    assert asked_for(browser) == [browser.current_url]
    assert browser.get_log("browser") == []
    assert len(browser.find_elements(By.TAG_NAME, "svg")) == 3
    # No text leaves its field of the table, and none the piece but in the box that scrolls.
    cut = browser.execute_script(
        "const out = e => e.scrollWidth > e.clientWidth + 1; return [[...document.querySelectorAll('td, th')]"
        ".filter(out).map(e => e.textContent), [...document.querySelectorAll('.mindefense')].filter(out).length]"
    )
    assert cut == [[], 0]
    aligned = browser.execute_script(
        "return [...document.querySelectorAll('tbody tr')].map(r => [r.cells[0], r.cells[3]]"
        ".map(c => getComputedStyle(c).textAlign).join())"
    )
    assert set(aligned) == {"left,right"}
    edges = browser.execute_script(
        "return [...document.querySelectorAll('svg')].map(s => s.getBoundingClientRect().width)"
    )
    assert min(edges) > 250


def test_a_dark_notebook_is_dark_whatever_the_system_says(see):
    def back_and_front(name, scheme):
        return see(name, scheme=scheme).execute_script(
            "const c = s => getComputedStyle(document.querySelector(s)); return [c('.mindefense').backgroundColor, "
            "c('.mindefense .title').color, c('.mindefense svg text').fill, c('.mindefense td').color, "
            "c('.mindefense .short').color]"
        )

    for scheme in ("light", "dark"):
        for name, expected in (("notebook", 1.0), ("dark_notebook", 0.09)):
            back, *fronts = back_and_front(name, scheme)
            assert brightness(back) == pytest.approx(expected, abs=0.05)
            for front in fronts:
                assert abs(brightness(back) - brightness(front)) > 0.35


@pytest.mark.skipif(AXE is None, reason='axe-core is in the extra "test"')
@pytest.mark.parametrize("name", ["notebook", "dark_notebook"])
def test_axe_finds_no_fault_in_a_notebook(name, see):
    browser = see(name)
    browser.execute_script((Path(AXE.origin).parent / "axe.min.js").read_text(encoding="utf-8"))
    found = browser.execute_async_script(
        "axe.run('.mindefense', {rules: {region: {enabled: false}}}).then(arguments[0])"  # landmarks are the notebook's
    )
    assert len(found["passes"]) > 5
    assert [(fault["id"], [node["target"] for node in fault["nodes"]]) for fault in found["violations"]] == []
