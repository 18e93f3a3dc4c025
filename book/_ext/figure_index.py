"""`{figure-index}`: every figure and slider of the book, for those who teach.

Each has a section of the page per chapter. Pictures, captions and alternative
texts are read from the notebooks. Beside the page, in _figures, lie the PNGs
under the names that `make figures` gives them, and small copies to show.
"""

from __future__ import annotations

import html
import io
import json
from pathlib import Path

from claims import link, load_mathjax, notebooks
from docutils import nodes
from pictures import Picture, pictures
from PIL import Image
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

FOLDER = "_figures"
WIDTH = 320  # of a small copy, in dots


class figure_list(nodes.General, nodes.Element):
    """Stands for one chapter's figures until all chapters have been read."""


def read(path: str) -> tuple[str, list[Picture]]:
    """A notebook's title and its pictures."""
    notebook = json.loads(Path(path).read_text("utf-8"))
    title = "".join(notebook["cells"][0]["source"]).partition("\n")[0]
    return title.lstrip("# "), list(pictures(notebook, Path(path).stem))


class FigureIndex(SphinxDirective):
    """A section a chapter, so that the page has a table of contents."""

    def run(self):
        sections = []
        for doc in notebooks(self.env):
            path = self.env.doc2path(doc)
            self.env.note_dependency(path)
            title, found = read(path)
            if found:
                section = nodes.section("", ids=[f"figures-{doc}"])
                number = doc.partition("-")[0]
                if number.isdigit():
                    title = f"{int(number)} {title}"
                section += nodes.title(text=title)
                section += figure_list(doc=doc)
                sections.append(section)
        return sections


def name_cells(app, doctree):
    """Give each cell of code a target, so that it can be linked."""
    doc = app.env.docname
    if not app.env.doc2path(doc).endswith(".ipynb"):
        return
    notebook = json.loads(Path(app.env.doc2path(doc)).read_text("utf-8"))
    for node in doctree.findall(nodes.container):
        if node.get("nb_element") == "cell_code":
            cell = notebook["cells"][node["cell_index"]]
            node["ids"].append(f"cell-{cell['id']}")


def picture(app, found: Picture):
    """Write the picture and a small copy of it; return the HTML of both."""
    from ddim_edu.figures import with_palette

    whole = Path(app.outdir, FOLDER, found.file)
    small = whole.parent / "small" / found.file
    small.parent.mkdir(parents=True, exist_ok=True)
    whole.write_bytes(found.png)
    image = Image.open(io.BytesIO(found.png)).convert("RGB")
    size = image.size
    image.thumbnail((WIDTH, WIDTH), Image.Resampling.LANCZOS)
    with_palette(image, 64).save(small, optimize=True)
    shown = (
        f'<a href="{FOLDER}/{found.file}">'
        f'<img src="{FOLDER}/small/{found.file}" loading="lazy" '
        f'width="{image.width}" height="{image.height}" '
        f'alt="{html.escape(found.alt)}"></a>'
    )
    return nodes.raw("", shown, format="html"), size


def caption(app, doc, found: Picture, cell):
    """The number and the caption that the figure has in its chapter."""
    out = nodes.paragraph()
    for figure in cell.findall(nodes.figure):
        if found.anchor in figure["ids"]:
            numbers = app.env.toc_fignumbers[doc]["figure"][found.anchor]
            name = app.config.numfig_format["figure"]
            out += nodes.strong(text=name % ".".join(map(str, numbers)))
            out += nodes.Text(" ")
            for child in figure.next_node(nodes.caption).children:
                out += child.deepcopy()
            return out
    out += nodes.Text(found.caption)
    return out


def ways(app, page, doc, found: Picture, cell, size):
    """Links: where it stands, the cell that draws it, the file."""
    section = cell.parent
    # an exercise's own section has no title, a solution is no section
    while not (
        isinstance(section, nodes.section)
        and isinstance(section[0], nodes.title)
    ):
        section = section.parent
    place = link(app, page, doc, section)
    place["refuri"] = app.builder.get_relative_uri(page, doc)
    place["refuri"] += f"#{found.anchor}"
    source = make_refnode(
        app.builder, page, doc, f"cell-{found.cell}", nodes.Text("source cell")
    )
    file = nodes.reference(
        "", f"PNG,\N{NO-BREAK SPACE}{size[0]}×{size[1]}", internal=True,
        refuri=f"{FOLDER}/{found.file}",
    )  # fmt: skip
    out = nodes.paragraph(classes=["ways"])
    for way in (place, source, file):
        if len(out):
            out += nodes.Text(" · ")
        out += way
    return out


class Fill(SphinxPostTransform):
    """Comes before links are resolved, those in borrowed captions too."""

    default_priority = 1

    def run(self):
        page = self.env.docname
        for stand_in in list(self.document.findall(figure_list)):
            stand_in.replace_self(entries(self.app, page, stand_in["doc"]))
            load_mathjax(self.app, page, self.document)


def entries(app, page, doc):
    """Each picture of one chapter, with all that is said of it."""
    drawing = {
        node["cell_index"]: node
        for node in app.env.get_doctree(doc).findall(nodes.container)
        if node.get("nb_element") == "cell_code"
    }
    out = []
    for found in read(app.env.doc2path(doc))[1]:
        cell = drawing[found.index]
        shown, size = picture(app, found)
        words = (
            "<details><summary>In words</summary>"
            f"<p>{html.escape(found.alt)}</p></details>"
        )
        text = nodes.container(
            "",
            caption(app, doc, found, cell),
            ways(app, page, doc, found, cell, size),
            nodes.raw("", words, format="html"),
        )
        out.append(nodes.container("", shown, text, classes=["figure-entry"]))
    return out


def setup(app):
    app.add_node(figure_list)
    app.add_directive("figure-index", FigureIndex)
    app.connect("doctree-read", name_cells)
    app.add_post_transform(Fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
