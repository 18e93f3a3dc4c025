"""Print the built book to _build/book.pdf: `make pdf`.

A headless Chromium prints each page, in the order of _toc.yml, when its
formulas are set; pypdf binds them, numbers the sheets and mends the links.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
from pathlib import Path

import yaml
from playwright.sync_api import Browser, sync_playwright
from pypdf import PdfReader, PdfWriter
from pypdf.generic import (
    ArrayObject,
    FloatObject,
    NameObject,
    NullObject,
)

ROOT = Path(__file__).resolve().parents[2]
HTML = ROOT / "_build" / "html"
OUT = ROOT / "_build" / "book.pdf"

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
MARGIN = {"top": "18mm", "bottom": "20mm", "left": "18mm", "right": "18mm"}

# A folded solution is printed open; a picture far down is loaded too. Of the
# anchors Chromium keeps those that a link of the same page leads to, so all
# get one, unseen: other pages lead to them.
READY = """async () => {
  for (const e of document.querySelectorAll(".toggle-hidden"))
    e.classList.remove("toggle-hidden");
  for (const e of document.querySelectorAll("details")) e.open = true;
  if (window.MathJax) await MathJax.startup.promise;
  await document.fonts.ready;
  for (const image of document.images) {
    image.loading = "eager";
    await image.decode();
  }
  const links = document.createElement("div");
  links.hidden = true;
  for (const e of document.querySelectorAll("main [id]"))
    links.appendChild(document.createElement("a")).href = "#" + e.id;
  document.body.append(links);
}"""


def chromium() -> str | None:
    """Path of the system's Chromium; CHROMIUM=path names another."""
    names = (os.environ.get("CHROMIUM", ""), *NAMES)
    return next(filter(None, map(shutil.which, names)), None)


def contents() -> list[tuple[str | None, list[str]]]:
    """Parts of the book: caption, pages."""
    toc = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text("utf-8"))
    parts = [(None, [toc["root"]])]
    for part in toc["parts"]:
        pages = [chapter["file"] for chapter in part["chapters"]]
        parts.append((part["caption"], pages))
    return parts


def printed(browser: Browser, address: str) -> tuple[str, bytes]:
    """A page's title and its PDF."""
    tab = browser.new_page(color_scheme="light")
    tab.goto(address)
    tab.evaluate(READY)
    # an h1 before this one, for the printer, has no number
    title = tab.evaluate("document.querySelector('.bd-article h1').innerText")
    pdf = tab.pdf(format="A4", margin=MARGIN, print_background=True)
    tab.close()
    return " ".join(title.replace("#", "").split()), pdf


def numbers(browser: Browser, count: int) -> PdfReader:
    """Sheets that hold nothing but their number."""
    sheets = "".join(f"<p>{i}</p>" for i in range(1, count + 1))
    tab = browser.new_page()
    tab.set_content(
        "<style>@page{size:A4;margin:0} body{margin:0} p{margin:0;"
        "box-sizing:border-box;height:296mm;padding-top:282mm;"
        "text-align:center;font:9pt sans-serif;color:#555;"
        f"break-after:page}} p:last-child{{break-after:auto}}</style>{sheets}"
    )
    pdf = tab.pdf(prefer_css_page_size=True)
    tab.close()
    return PdfReader(io.BytesIO(pdf))


def mend_links(writer: PdfWriter, first: dict[str, int], places) -> None:
    """A link to a page of the book, a file here, leads to its sheet."""
    home = HTML.as_uri() + "/"
    for number, page in enumerate(writer.pages):
        own = max((s, n) for n, s in first.items() if s <= number)[1]
        for link in page.get("/Annots", ()):
            link = link.get_object()
            action = link.get("/A")
            uri = str(action.get("/URI", "")) if action else ""
            if "/Dest" in link:
                where = places[own].get(str(link["/Dest"]))
            elif uri.startswith(home):
                target, _, anchor = uri.removeprefix(home).partition("#")
                name = target.removesuffix(".html")
                if name not in first:  # not printed: no place to lead to
                    del link["/A"]
                    continue
                where = places[name].get(f"/{anchor}", (first[name], None))
            else:
                continue
            sheet, top = where or (first[own], None)
            link.pop("/A", None)
            height = NullObject() if top is None else FloatObject(top)
            link[NameObject("/Dest")] = ArrayObject(
                [
                    writer.pages[sheet].indirect_reference,
                    NameObject("/XYZ"),
                    *(NullObject(), height, NullObject()),
                ]
            )


def main() -> None:
    path = chromium()
    if path is None:
        sys.exit(f"no Chromium: none of {', '.join(NAMES)} on the PATH")
    writer, first, places = PdfWriter(), {}, {}
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=path, args=["--disable-gpu"]
        )
        for caption, names in contents():
            part = None
            for name in names:
                address = (HTML / f"{name}.html").as_uri()
                title, pdf = printed(browser, address)
                reader = PdfReader(io.BytesIO(pdf))
                start = first[name] = len(writer.pages)
                places[name] = {
                    f"/{key.lstrip('/')}": (
                        start + reader.get_destination_page_number(place),
                        place.top - 48,  # Chromium forgets 18 mm of margin
                    )
                    for key, place in reader.named_destinations.items()
                }
                for page in reader.pages:
                    writer.add_page(page)
                if caption and part is None:
                    part = writer.add_outline_item(
                        title=caption, page_number=start
                    )
                writer.add_outline_item(
                    title=title, page_number=start, parent=part
                )
        sheets = numbers(browser, len(writer.pages))
        browser.close()
    mend_links(writer, first, places)
    for page, sheet in zip(writer.pages, sheets.pages, strict=True):
        page.merge_page(sheet)
    config = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))
    writer.add_metadata(
        {"/Title": config["title"], "/Author": config["author"]}
    )
    writer.compress_identical_objects()
    writer.write(OUT)
    megabytes = OUT.stat().st_size / 1e6
    print(f"{len(writer.pages)} pages, {megabytes:.0f} MB: {OUT}")


if __name__ == "__main__":
    main()
