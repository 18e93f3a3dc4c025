"""The built book in a browser: `make browser`. A bare `pytest` leaves it out.

It needs a Chromium, which pip does not bring, and is skipped without one.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest
from test_house import BOOK, PACKAGE, ROOT, TOC

playwright = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.base")
pdf = pytest.importorskip("pdf", reason="needs pypdf")

pytestmark = pytest.mark.browser

PAGES = [*TOC, "genindex", "search"]
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}

# What axe-core may report, and why it stays: (rule, part of the selector).
ALLOWED = {
    ("aria-required-children", ".citation-list"): (
        "docutils writes a bibliography as a list with links straight in it"
    ),
}

# A page as axe-core can judge it in seconds, not minutes: of each formula,
# whose inside is MathJax's affair, a box of its size is left.
PLAIN = """() => {
  const all = [...document.querySelectorAll("mjx-container")];
  const widths = all.map(
    e => e.firstElementChild.getBoundingClientRect().width);
  all.forEach((e, i) => {
    e.innerHTML = "<span style='display: inline-block'>x</span>";
    e.firstChild.style.width = widths[i] + "px";
  });
}"""

# One element of each look that holds text: what has the same classes all the
# way up has the same colours. What was seen on an earlier page is left out.
LOOKS = """seen => {
  const out = [];
  seen = new Set(seen);
  for (const e of document.body.querySelectorAll("*")) {
    if (e.closest("mjx-container, svg, script")) continue;
    if (![...e.childNodes].some(n => n.nodeType == 3 && n.data.trim()))
      continue;
    let look = "";
    for (let a = e; a != document.body; a = a.parentElement)
      look += a.tagName + "." + [...a.classList].sort().join(".") + ">";
    if (!seen.has(look)) { seen.add(look); out.push(e); }
  }
  window.looks = out;
  return [...seen];
}"""


def is_fresh(html: Path) -> bool:
    """Was the book there built after the last change to what it is made of?"""
    made = html / "searchindex.js"
    sources = [ROOT / "_config.yml", *PACKAGE]
    sources += [p for p in BOOK.rglob("*.*") if "__pycache__" not in p.parts]
    return made.exists() and all(
        path.stat().st_mtime < made.stat().st_mtime for path in sources
    )


class Silent(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass


class View(NamedTuple):
    name: str
    tab: playwright.Page
    problems: list[str]  # seen while it was loaded and used


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright.Browser]:
    path = pdf.chromium()
    if path is None:
        pytest.skip(f"no Chromium: none of {', '.join(pdf.NAMES)} on the PATH")
    with playwright.sync_playwright() as driver:
        flags = ["--disable-gpu", "--disable-dev-shm-usage"]
        started = driver.chromium.launch(executable_path=path, args=flags)
        yield started
        started.close()


@pytest.fixture(scope="module")
def built(browser, request) -> Iterator[str]:
    """Address of the book: that of `make book`, or if it is old a new one."""
    html = ROOT / "_build" / "html"
    if not is_fresh(html):
        html = request.getfixturevalue("site")
    answer = partial(Silent, directory=html)
    with ThreadingHTTPServer(("127.0.0.1", 0), answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def tab(browser, built) -> Iterator[View]:
    """A tab, and a list of what goes wrong in it."""
    problems: list[str] = []
    tab = browser.new_page(viewport=DESK, color_scheme="light")

    def console(message):
        if message.type in ("error", "warning"):
            problems.append(f"console: {message.text}")

    def request(asked):
        if not asked.url.startswith((built, "data:", "blob:")):
            problems.append(f"another host: {asked.url}")

    def failed(asked):
        if asked.failure == "net::ERR_ABORTED":
            return  # cut off, since the tab went on to the next page
        problems.append(f"failed: {asked.url} {asked.failure}")

    tab.on("console", console)
    tab.on("pageerror", lambda error: problems.append(f"script: {error}"))
    tab.on("request", request)
    tab.on("requestfailed", failed)
    yield View("", tab, problems)
    tab.close()


def load(tab: playwright.Page, address: str) -> None:
    tab.goto(address)
    # a colour on its way to another has no contrast to speak of
    tab.add_style_tag(content="* { transition: none !important }")
    tab.evaluate(
        "async () => { if (window.MathJax) await MathJax.startup.promise }"
    )


@pytest.fixture(scope="module")
def looks() -> list[str]:
    return []


@pytest.fixture(scope="module", params=PAGES)
def view(request, built, tab) -> View:
    """A page of the book, loaded once for all the tests."""
    tab.problems.clear()
    load(tab.tab, f"{built}/{request.param}.html")
    return tab._replace(name=request.param)


@contextmanager
def dark(tab: playwright.Page) -> Iterator[None]:
    """What a reader sees whose system is dark."""
    tab.emulate_media(color_scheme="dark")
    try:
        tab.locator("html[data-theme=dark]").wait_for()
        yield
    finally:
        tab.emulate_media(color_scheme="light")
        tab.locator("html[data-theme=light]").wait_for()


def test_loads_without_an_error(view):
    assert not view.problems, "\n".join(view.problems)


def test_mathematics_is_rendered(view):
    raw = view.tab.eval_on_selector_all(
        ".math",
        "all => all.filter(e => !e.querySelector('mjx-container'))"
        ".map(e => e.textContent.slice(0, 80))",
    )
    assert not raw
    wrong = view.tab.locator("mjx-merror").all_text_contents()
    assert not wrong


def test_pictures_are_there_and_have_words(view):
    # what waits below the fold is loaded before it is judged
    bad = view.tab.evaluate(
        """async () => {
          const bad = [];
          for (const image of document.images) {
            image.loading = "eager";
            await image.decode().catch(() => bad.push(image.src.slice(-80)));
            if (!image.alt.trim()) bad.push("no alt: " + image.src.slice(-80));
          }
          return bad;
        }"""
    )
    assert not bad


def test_explorers_move(view):
    for box in view.tab.locator(".ddim-frames").all():
        slider, image = box.get_by_role("slider"), box.locator("img")
        where = box.get_attribute("id")

        def shown(image=image):
            return image.get_attribute("src"), image.get_attribute("alt")

        first = shown()
        at_end = slider.input_value() == slider.get_attribute("max")
        slider.focus()
        view.tab.keyboard.press("ArrowLeft" if at_end else "ArrowRight")
        by_key = shown()
        assert by_key != first, f"{where}: an arrow key changes nothing"
        area = slider.bounding_box()
        for part in (0.05, 0.95):
            before = shown()
            slider.click(
                position={"x": part * area["width"], "y": area["height"] / 2}
            )
        assert shown() != before, f"{where}: the mouse changes nothing"
        text = slider.get_attribute("aria-valuetext")
        assert text == box.locator("output").text_content()


def test_folded_solutions_open(view):
    closed = view.tab.locator(".solution.toggle-hidden")
    count = closed.count()
    if view.name[0].isdigit():
        assert count >= 3
    for _ in range(count):
        solution = closed.first
        inside = solution.locator("> *:not(.admonition-title)").first
        handle = inside.element_handle()
        assert not handle.is_visible()
        solution.get_by_role("button").first.click()
        assert handle.is_visible()
    assert closed.count() == 0


def serious(found: dict) -> list[str]:
    """What axe-core calls serious or critical, and is not allowed."""
    return [
        f"{rule['id']}: {target}\n  {node['failureSummary']}"
        for rule in found["violations"]
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
        for target in [" ".join(map(str, node["target"]))]
        if not any(r == rule["id"] and t in target for r, t in ALLOWED)
    ]


def run_axe(tab: playwright.Page, where: str, options: str) -> list[str]:
    if not tab.evaluate("'axe' in window"):
        tab.evaluate(axe.AXE_SCRIPT)
    # preload would fetch the style sheets once more
    options = f"{{resultTypes: ['violations'], preload: false, {options}}}"
    return serious(tab.evaluate(f"axe.run({where}, {options})"))


def test_dark_mode_keeps_figures_legible(view):
    # drawn in dark ink: the ground must stay white, the picture undimmed
    with dark(view.tab):
        bad = view.tab.eval_on_selector_all(
            ".cell_output img, .ddim-frames img",
            """all => all.filter(e => {
              const style = getComputedStyle(e);
              return style.filter != "none"
                || style.backgroundColor != "rgb(255, 255, 255)";
            }).map(e => e.alt)""",
        )
    assert not bad


def test_a_phone_need_not_scroll_sideways(view):
    view.tab.set_viewport_size(PHONE)
    try:
        wide = view.tab.evaluate(
            "Math.max(document.documentElement.scrollWidth,"
            " document.body.scrollWidth)"
        )
    finally:
        view.tab.set_viewport_size(DESK)
    assert wide <= PHONE["width"]


def test_code_needs_no_scroll_bar(view):
    wide = view.tab.eval_on_selector_all(
        "div.cell_input pre",
        "all => all.filter(e => e.scrollWidth > e.clientWidth)"
        ".map(e => e.textContent.slice(0, 200))",
    )
    assert not wide


def test_text_stands_out(view, looks):
    view.tab.evaluate(PLAIN)
    before = len(looks)
    looks[:] = view.tab.evaluate(LOOKS, looks)
    if len(looks) == before:
        return  # nothing here that an earlier page did not show
    judge = "{include: looks}", "runOnly: 'color-contrast'"
    found = run_axe(view.tab, *judge)
    with dark(view.tab):
        found += [f"dark: {each}" for each in run_axe(view.tab, *judge)]
    assert not found, "\n".join(found)


def test_nothing_bars_the_way(view):
    view.tab.evaluate(PLAIN)
    view.tab.eval_on_selector_all(  # colours have had their turn
        "pre", "all => all.forEach(e => { e.textContent = e.textContent })"
    )
    found = run_axe(
        view.tab, "document", "rules: {'color-contrast': {enabled: false}}"
    )
    assert not found, "\n".join(found)


def test_nothing_went_wrong_in_use(view):
    """The last of the tests of a page."""
    assert not view.problems, "\n".join(view.problems)


def test_pages_of_source_load(built, tab):
    load(tab.tab, f"{built}/_modules/index.html")
    tab.problems.clear()
    shown = tab.tab.eval_on_selector_all(
        "main a[href^='ddim_edu/']", "all => all.map(e => e.href)"
    )
    assert len(shown) > 20
    for address in shown:
        tab.tab.goto(address)
        assert tab.tab.locator("article pre").text_content()
    assert not tab.problems, "\n".join(tab.problems)


def test_a_printed_page_keeps_its_anchors(browser, built, tab):
    """`make pdf` binds such pages: a link from another needs its place."""
    address = f"{built}/02-known-answer.html"
    tab.tab.goto(address)
    wanted = tab.tab.eval_on_selector_all(
        "main section[id], main figure[id]", "all => all.map(e => e.id)"
    )
    title, data = pdf.printed(browser, address)
    assert title == "2. A world where the answer is known"
    places = pdf.PdfReader(io.BytesIO(data)).named_destinations
    assert len(wanted) > 20
    assert not set(wanted) - {key.lstrip("/") for key in places}


def test_search_finds_lemma_1(built, tab):
    tab.problems.clear()
    load(tab.tab, f"{built}/index.html")
    tab.tab.keyboard.press("Control+k")
    tab.tab.keyboard.type("Lemma 1")
    tab.tab.keyboard.press("Enter")
    tab.tab.wait_for_url("**/search.html?q=Lemma*")
    found = tab.tab.locator("#search-results li a[href*='05-non-markovian']")
    found.first.wait_for()
    assert not tab.problems, "\n".join(tab.problems)
