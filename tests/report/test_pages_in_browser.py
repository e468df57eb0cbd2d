"""Pages in a real browser: sliders move by mouse and keys, nothing is complained of, nothing asked for.

Needs ``pip install playwright`` and a Chromium: the system's, or that of ``playwright install chromium``.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dewedge.geometry import TiltRange
from dewedge.report.run.index import IndexRow, index
from dewedge.report.run.page import RunPage, State, page
from dewedge.report.run.sections import places_of, read_sections, thumbnail

pytestmark = pytest.mark.browser
SHAPE = (16, 30, 40)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    names = ("chromium", "chromium-browser", "google-chrome")
    with api.sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
        found = next(filter(None, map(shutil.which, names)), str(own) if own.is_file() else None)
        if found is None:
            pytest.skip("needs a Chromium, and there is none")
        # A browser refuses to confine itself for root, as tests in containers are run.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=found, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page of a run, and an index."""
    folder = tmp_path_factory.mktemp("pages")
    data = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    volumes = {
        name: read_sections(volume, places_of(SHAPE, 2))
        for name, volume in (("FBP", data), ("refined", -data))
    }
    where = folder / "report.html"
    run = RunPage("TS", SHAPE, 10.0, TiltRange(-60, 60), volumes)
    where.write_text(page(run, where))
    state = State("Epoch 1 is done.", "Wait.", 0.5, goes_on=True)
    (folder / "live.html").write_text(page(replace(run, state=state), where))
    rows = [
        IndexRow(name, "done", "report.html", thumbnail(data[0]), SHAPE, 10.0, loss, seconds, seconds, 0)
        for name, loss, seconds in (("TS_10", 0.5, 7.0), ("TS_9", None, 61.0), ("TS_1", 0.25, 600.0))
    ]
    (folder / "index.html").write_text(index("runs", rows))
    return folder


class Opened:
    """A page, and all that it said and asked for."""

    def __init__(self, browser: Any, path: Path, width: int = 1000) -> None:
        self.page = browser.new_page(viewport={"width": width, "height": 800})
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())
        self.address = path.as_uri()

    def close(self) -> None:
        self.page.close()
        assert self.said == []
        assert [url for url in self.asked if not url.startswith("data:")] == [self.address]


@pytest.fixture
def opened(browser: Any, files: Path) -> Iterator[Any]:
    opened = Opened(browser, files / "report.html")
    yield opened.page
    opened.close()


def clip(opened: Any) -> str:
    return str(opened.evaluate("getComputedStyle(document.querySelector('.after .xy img')).clipPath"))


def test_the_wipe_moves_by_keys(opened: Any) -> None:
    assert clip(opened) == "inset(0px 0px 0px 50%)"
    opened.focus("#wipe")
    for _ in range(3):
        opened.keyboard.press("ArrowRight")
    assert clip(opened) == "inset(0px 0px 0px 53%)"
    assert "53 %" in opened.get_attribute("#wipe", "aria-valuetext")


def test_the_wipe_moves_by_the_mouse(opened: Any) -> None:
    box = opened.locator(".after .xy").bounding_box()
    middle = box["y"] + box["height"] / 2
    opened.mouse.move(box["x"] + box["width"] / 2, middle)
    opened.mouse.down()
    opened.mouse.move(box["x"] + box["width"] / 4, middle)
    opened.mouse.up()
    assert clip(opened) == "inset(0px 0px 0px 25%)"
    assert opened.input_value("#wipe") == "25"
    opened.mouse.move(box["x"], middle)  # the button is up
    assert opened.input_value("#wipe") == "25"


@pytest.mark.parametrize("view, axis", [("xy", "z"), ("xz", "y"), ("yz", "x")])
def test_sections_follow_their_slider(opened: Any, view: str, axis: str) -> None:
    images = [opened.locator(f".{role} .{view} img") for role in ("before", "after")]
    before = [image.get_attribute("src") for image in images]
    opened.focus(f"input[data-view={view}]")
    opened.keyboard.press("Home")
    assert all(image.get_attribute("src") != old for image, old in zip(images, before, strict=True))
    assert images[1].get_attribute("alt") == f"refined: {view} section 1"
    size = dict(zip("zyx", SHAPE, strict=True))[axis]
    assert opened.text_content(f"#at-{view}") == f"1 of {size}"
    at = opened.evaluate(f"document.getElementById('volumes').style.getPropertyValue('--{axis}')")
    assert float(at.removesuffix("%")) == pytest.approx(100 * 0.5 / size, abs=0.01)


def test_volumes_stand_side_by_side(opened: Any) -> None:
    opened.check("input[value=beside]")
    before, after = (opened.locator(f".{role}").bounding_box() for role in ("before", "after"))
    assert after["x"] >= before["x"] + before["width"] and after["width"] == pytest.approx(before["width"])
    assert clip(opened) == "none" and opened.is_disabled("#wipe")
    opened.check("input[value=wipe]")
    assert clip(opened) != "none"


def test_places_can_be_hidden(opened: Any) -> None:
    assert opened.locator(".before .xy .up").is_visible()
    opened.focus("#places")
    opened.keyboard.press("Space")
    assert not opened.locator(".before .xy .up").is_visible()


def test_the_citation_is_copied(opened: Any) -> None:
    opened.click("#copy")
    assert opened.text_content("#copied") == "copied"


def test_every_control_is_reached_by_the_tab_key(opened: Any) -> None:
    reached = set()
    for _ in range(20):
        opened.keyboard.press("Tab")
        reached.add(opened.evaluate("document.activeElement.id || document.activeElement.dataset.view"))
    assert {"wipe", "xy", "xz", "yz", "places", "copy"} <= reached


@pytest.mark.parametrize("width", [400, 1000, 1600])
@pytest.mark.parametrize("name", ["report.html", "index.html"])
def test_no_page_is_wider_than_its_window(browser: Any, files: Path, name: str, width: int) -> None:
    opened = Opened(browser, files / name, width)
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    opened.close()


def test_a_page_that_loads_itself_again_keeps_what_was_set(browser: Any, files: Path) -> None:
    opened = Opened(browser, files / "live.html")
    opened.page.focus("#wipe")
    opened.page.keyboard.press("Home")
    opened.page.uncheck("#places")
    opened.page.reload()
    assert clip(opened.page) == "inset(0px 0px 0px 0%)" and not opened.page.is_checked("#places")
    opened.page.close()
    assert opened.said == []


def test_in_print_both_volumes_are_whole_and_side_by_side(opened: Any) -> None:
    opened.emulate_media(media="print")
    before, after = (opened.locator(f".{role}").bounding_box() for role in ("before", "after"))
    assert after["x"] >= before["x"] + before["width"] and clip(opened) == "none"
    assert not opened.locator("#wipe").is_visible()


def test_the_index_is_sorted_by_mouse_and_keys(browser: Any, files: Path) -> None:
    opened = Opened(browser, files / "index.html")

    def names() -> list[str]:
        return [str(text) for text in opened.page.locator("tbody th").all_text_contents()]

    opened.page.click("th:has-text('tomogram') button")
    assert names() == ["TS_1", "TS_9", "TS_10"]
    opened.page.keyboard.press("Enter")
    assert names() == ["TS_10", "TS_9", "TS_1"]
    assert opened.page.get_attribute("th:has-text('tomogram')", "aria-sort") == "descending"
    opened.page.click("th:has-text('held-out') button")
    assert names() == ["TS_1", "TS_10", "TS_9"]  # what is not known comes last, either way
    opened.page.keyboard.press("Space")
    assert names() == ["TS_10", "TS_1", "TS_9"]
    opened.close()
