"""Does the report work in a real browser: sorting, enlarging, phones, dark mode, and no external requests?"""

import json
import shutil

import pytest

from bench.reports.build import write_report
from bench.reports.figures.registry import FIGURES
from tests.support.synthetic import write_run

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.common.by import By  # noqa: E402 - only where there is selenium
from selenium.webdriver.common.keys import Keys  # noqa: E402

PHONE_PX = 390
READABLE = 4.5  # WCAG 2.1 AA: contrast of ordinary text
LOOKED_AT = ("body", ".facts", ".note", "figcaption", "a.chip", "td small", "dd", "nav a", "thead button", ".warning")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The report of a run with pictures and a diverged cell, two figures of it, as a file."""
    arms = (("bce", "sigmoid"), ("l1", "raw"), ("l2", "raw"))
    path = tmp_path_factory.mktemp("browser") / "run"
    write_run(path, 2, ("sr", "gan"), sr_arms=arms, not_done={1: ("diverged", "at step 3")})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.reports.build.FIGURES", {name: FIGURES[name] for name in ("robustness", "sr_crops")})
        write_report(path)
    assert (path / "report.html").stat().st_size < 3_000_000
    return path / "report.html"


@pytest.fixture(scope="module")
def chromium():
    """One headless Chromium for all of this file."""
    programs = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    if missing := [name for name, found in programs.items() if not found]:
        pytest.skip(f"{' and '.join(missing)} not found; on Debian: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = programs["chromium"]
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(programs["chromedriver"]))
    yield driver
    driver.quit()


@pytest.fixture
def opened(chromium, page):
    """The report, freshly opened on a desktop in the light."""
    show(chromium, page)
    return chromium


def show(driver, page, width=1280, scheme="light"):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    driver.get(page.as_uri())


def test_the_page_loads_nothing_and_logs_no_errors(chromium, page):
    chromium.get_log("performance"), chromium.get_log("browser")  # what was before
    show(chromium, page)
    events = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    asked = {event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"}
    assert {url for url in asked if not url.startswith("data:")} == {page.as_uri()}
    assert chromium.get_log("browser") == []


def test_every_image_is_there(opened):
    missing = "return [...document.images].filter(one => !one.complete || !one.naturalWidth).map(one => one.alt)"
    assert opened.execute_script(missing) == []
    assert opened.execute_script("return document.querySelectorAll('figure img').length") == 2


def column(table, number):
    rows = table.find_elements(By.CSS_SELECTOR, "tbody tr")
    return [row.find_elements(By.CSS_SELECTOR, "th, td")[number].get_attribute("data-order") for row in rows]


def test_a_click_sorts_and_another_reverses(opened):
    table = next(t for t in opened.find_elements(By.CSS_SELECTOR, "table.sortable") if "salt outliers" in t.text)
    heading = table.find_elements(By.CSS_SELECTOR, "thead th")[2]
    for press, order, direction in (("click", 1, "ascending"), ("key", -1, "descending")):
        button = heading.find_element(By.TAG_NAME, "button")
        button.click() if press == "click" else button.send_keys(Keys.ENTER)
        values = [float(value) for value in column(table, 2)]
        assert values == sorted(values, reverse=order < 0)
        assert heading.get_attribute("aria-sort") == direction
    assert len(values) == 3


def test_a_figure_enlarges_by_mouse_and_by_keyboard(opened):
    button = opened.find_element(By.CSS_SELECTOR, "figure button")
    dialog = opened.find_element(By.TAG_NAME, "dialog")
    assert not dialog.is_displayed()
    button.click()
    assert dialog.is_displayed()
    shown = dialog.find_element(By.TAG_NAME, "img")
    assert shown.get_attribute("src") == button.find_element(By.TAG_NAME, "img").get_attribute("src")
    assert shown.get_attribute("alt")
    dialog.find_element(By.TAG_NAME, "button").click()
    assert not dialog.is_displayed()
    button.send_keys(Keys.ENTER)
    assert dialog.is_displayed()
    opened.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not dialog.is_displayed()
    assert opened.switch_to.active_element == button  # back where the reader was


def test_a_phone_scrolls_in_one_direction_only(chromium, page):
    show(chromium, page, PHONE_PX)
    assert chromium.execute_script("return document.documentElement.scrollWidth") <= PHONE_PX


def test_terms_are_explained_on_hover_and_below(opened):
    words = opened.find_elements(By.CSS_SELECTOR, "a.word")
    assert words
    for word in words[:5]:
        anchor = word.get_attribute("href").partition("#")[2]
        assert word.get_attribute("title") == opened.execute_script(
            "return document.getElementById(arguments[0]).nextElementSibling.textContent", anchor
        )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_in_the_light_and_in_the_dark(chromium, page, scheme):
    show(chromium, page, scheme=scheme)
    colours = """
        const back = one => { const c = getComputedStyle(one).backgroundColor;
                              return c === "rgba(0, 0, 0, 0)" && one.parentElement ? back(one.parentElement) : c; };
        return arguments[0].map(name => document.querySelector(name)).filter(one => one)
                           .map(one => [getComputedStyle(one).color, back(one)]);"""
    pairs = chromium.execute_script(colours, LOOKED_AT)
    assert len(pairs) >= len(LOOKED_AT) - 1
    assert min(contrast(*pair) for pair in pairs) >= READABLE
    assert (luminance(pairs[0][1]) < 0.2) == (scheme == "dark")


def contrast(one, other):
    """The contrast ratio of two colours (WCAG 2.1): 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def luminance(colour):
    """The relative luminance of `rgb(r, g, b)`."""
    parts = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_contrast_meets_the_standard():
    assert contrast("rgb(0, 0, 0)", "rgb(255, 255, 255)") == pytest.approx(21)
    assert contrast("rgb(119, 119, 119)", "rgb(255, 255, 255)") == pytest.approx(4.48, abs=0.01)  # just fails
