"""The built book: no warnings, no dead links, nothing left unrendered."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest
from claims import Claim, parse
from paper_map import ITEMS, named
from pictures import main, pictures
from test_house import BOOK, CHAPTERS, NOTEBOOKS, cells, exercises, texts

# elements without an end tag, which must not be pushed
VOID = {"br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"}
# what stands in these is shown as it is written
VERBATIM = {"code", "math", "pre", "script", "style", "title"}


class Page(HTMLParser):
    """What the tests need of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []  # what a browser fetches without a click
        self.images: list[dict] = []
        self.prose: list[str] = []
        self.claims = 0
        self.open: list[tuple[str, bool]] = []  # tag, is it verbatim?
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = {key: value or "" for key, value in attributes}
        classes = found.get("class", "").split()
        self.ids |= {found[key] for key in ("id", "name") if key in found}
        if not (tag == "link" and found.get("rel") != "stylesheet"):
            self.links += [found[k] for k in ("href", "src") if k in found]
        if tag in ("script", "link", "img", "iframe"):
            self.loads += [found[k] for k in ("href", "src") if k in found]
        if tag == "img":
            self.images.append(found)
        self.claims += tag == "tr" and "claim" in classes
        if tag not in VOID:
            self.open.append((tag, tag in VERBATIM or "math" in classes))

    def handle_endtag(self, tag):
        while self.open and self.open.pop()[0] != tag:
            pass

    def handle_data(self, data):
        if not any(verbatim for _, verbatim in self.open):
            self.prose.append(data)


@pytest.fixture(scope="module")
def pages(site):
    return {
        path: Page(path.read_text("utf-8"))
        for path in site.rglob("*.html")
        if "_static" not in path.parts
    }


def test_internal_links_arrive(site, pages):
    dead = []
    for path, page in pages.items():
        for link in page.links:
            url = urlsplit(link)
            if url.scheme or url.netloc:
                continue
            target = path
            if url.path:
                target = (path.parent / unquote(url.path)).resolve()
            anchor = unquote(url.fragment)
            if not target.exists() or (
                anchor and target in pages and anchor not in pages[target].ids
            ):
                dead.append(f"{path.relative_to(site)}: {link}")
    assert not dead, "\n".join(dead)


def test_a_page_loads_nothing_from_another_host(pages):
    """It reads offline, formulas and all, and tells nobody that it is read."""
    loaded = {
        link
        for page in pages.values()
        for link in page.loads
        if urlsplit(link).netloc
    }
    assert not loaded


def test_images_have_alternative_text(site, pages):
    mute = [
        f"{path.relative_to(site)}: {image.get('src', '')[:60]}"
        for path, page in pages.items()
        for image in page.images
        if not image.get("alt", "").strip()
    ]
    assert not mute, "\n".join(mute)


def test_nothing_is_left_unrendered(site, pages):
    raw = re.compile(r"\$\$|:::|\\(?:begin|frac|sqrt|tag)\b|\{(?:ref|cite|eq)")
    left = [
        f"{path.relative_to(site)}: {line.strip()}"
        for path, page in pages.items()
        for line in "".join(page.prose).splitlines()
        if raw.search(line)
    ]
    assert not left, "a blank line before $$ or ::: may be missing\n" + (
        "\n".join(left)
    )


def printed_claims() -> list[str]:
    return [
        line
        for path in NOTEBOOKS
        for cell in cells(path, "code")
        for line in texts(cell).get("stdout", "").splitlines()
        if line.startswith("✅ ") and not line.startswith("✅ Exercise")
    ]


def test_every_numbered_item_of_the_paper_is_checked():
    numbers = [item for item in ITEMS if item.startswith("Eq. ")]
    assert set(numbers) == {f"Eq. {n}" for n in range(1, 68)}
    assert {"Lemma 1", "Theorem 1", "Proposition 1"} < set(ITEMS)
    checked = {
        item for line in printed_claims() for item in named(parse(line).paper)
    }
    missing = [item for item in ITEMS if item not in checked]
    assert not missing, f"no check names {', '.join(missing)}"


def test_a_check_may_name_several_items():
    assert named("Eq. 30-32, 35") == ["Eq. 30", "Eq. 31", "Eq. 32", "Eq. 35"]
    assert named("Prop. 1") == ["Proposition 1"]
    assert named("Sec. 4.2") == []


def test_the_claims_page_lists_every_check(site, pages):
    printed = printed_claims()
    page = pages[site / "claims.html"]
    assert page.claims == len(printed)
    assert f"{len(printed)} claims" in "".join(page.prose)


def test_a_claim_is_read_from_its_line():
    assert parse("✅ Lemma 1: kept: for every eta · q · error < 1e-12") == (
        Claim("Lemma 1", "kept: for every eta · q", "error < 1e-12")
    )
    assert parse("✅ Eq. 12: no noise · exact") == Claim(
        "Eq. 12", "no noise", "exact"
    )
    assert parse("✅ Exercise 2.1: right · exact") is None
    assert parse("error < 1") is None
    with pytest.raises(ValueError, match="CLAIM · BOUND"):
        parse("✅ Eq. 7 holds")


def drawn() -> list:
    """Each figure and slider of the book, with its chapter."""
    return [
        (path.stem, found)
        for path in NOTEBOOKS
        for found in pictures(json.loads(path.read_text("utf-8")), path.stem)
    ]


def test_every_figure_and_slider_is_found():
    """The extension reads outputs its own way; this counts them in another."""
    named, sliders = [], []
    for path in NOTEBOOKS:
        for cell in cells(path, "code"):
            figure = cell["metadata"].get("mystnb", {}).get("figure", {})
            if figure:
                named.append(figure["name"])
            text = texts(cell).get("text/html", "")
            sliders += re.findall(r'class="ddim-frames" id="([^"]+)', text)
    anchors = [found.anchor for _, found in drawn()]
    assert len(named) > 100 and len(sliders) > 20
    assert set(named + sliders) <= set(anchors)
    files = [found.file for _, found in drawn()]
    assert len(set(files)) == len(files), "two figures have one file name"


def test_the_index_shows_every_figure_in_words_too(site, pages):
    page = pages[site / "figures.html"]
    alts = [image["alt"] for image in page.images]
    small = [
        site / image["src"]
        for image in page.images
        if image.get("loading") == "lazy"
    ]
    for chapter, found in drawn():
        assert found.alt in alts, f"{chapter}: {found.anchor}"
        assert f"{chapter}.html#{found.anchor}" in page.links
        assert f"{chapter}.html#cell-{found.cell}" in page.links
        assert (site / "_figures" / found.file).read_bytes() == found.png
    assert len(small) == len(drawn())
    size = sum(path.stat().st_size for path in small)
    assert size < 2e6, f"{size / 1e6:.1f} MB of small pictures: fewer colours"


def test_figures_are_written_under_the_names_of_the_index(tmp_path, capsys):
    main(["--out", str(tmp_path), *map(str, NOTEBOOKS)])
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert written == {found.file: found.png for _, found in drawn()}
    assert all(png.startswith(b"\x89PNG") for png in written.values())
    assert f"{len(written)} figures" in capsys.readouterr().out


def test_figures_can_be_drawn_finer(tmp_path):
    path = BOOK / "15-discrete.ipynb"
    stored = json.loads(path.read_text("utf-8"))
    before = path.read_bytes()
    main(["--dpi", "300", "--out", str(tmp_path), str(path)])
    assert path.read_bytes() == before
    for found in pictures(stored, path.stem):
        wide = width((tmp_path / found.file).read_bytes())
        dots = 100 if "slider" in found.file else 200
        # a tight border may move by a dot or two
        assert abs(wide - width(found.png) * 300 / dots) < 6, found.file


def width(png: bytes) -> int:
    return int.from_bytes(png[16:20], "big")


def test_the_teaching_page_has_the_minutes_of_the_chapters():
    rows = re.findall(
        r"\| (\d+) \[(.+?)\]\((\S+)\.ipynb\) \| (\d+) \|",
        (BOOK / "teaching.md").read_text("utf-8"),
    )
    for path, (number, title, name, minutes) in zip(
        (path for path in NOTEBOOKS if path.name[0].isdigit()),
        rows,
        strict=True,
    ):
        head = cells(path, "markdown")[0]["source"]
        assert (f"{int(number):02d}", name) == (path.stem[:2], path.stem)
        assert head.startswith(f"# {title}\n")
        assert f"**Time:** about {minutes} minutes" in head, name


def test_every_exercise_is_listed_by_depth_and_by_chapter(site, pages):
    links = pages[site / "exercises.html"].links
    for path in CHAPTERS:
        for exercise in exercises(path):
            link = f"{path.stem}.html#{exercise['label']}"
            assert links.count(link) >= 2, link
