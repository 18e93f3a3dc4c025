"""`{claims}`: a table of everything the chapters check by running.

Its rows are the lines that `ddim_edu.checks` printed, read from the stored
outputs of the notebooks, so the table can't drift from what was run:

    ✅ Lemma 1: marginals kept for every eta · error < 1e-12
    ✅ Eq. 12: sigma = 0 draws no noise · exact
    ✅ Eq. 8: the chain is not Markov · difference > 0.1
"""

from __future__ import annotations

from typing import NamedTuple

from docutils import nodes
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

MARK = "✅ "
COLUMNS = ("Paper", "Claim", "Tolerance")
log = logging.getLogger(__name__)


class Claim(NamedTuple):
    paper: str
    text: str
    bound: str


def parse(line: str) -> Claim | None:
    """Read one printed line; None if it is no claim about the paper."""
    if not line.startswith(MARK) or line.startswith(MARK + "Exercise"):
        return None
    paper, colon, rest = line.removeprefix(MARK).partition(": ")
    text, dot, bound = rest.rpartition(" · ")
    if not (colon and dot):
        raise ValueError(f"not '{MARK}PAPER: CLAIM · BOUND': {line!r}")
    return Claim(paper, text, bound.strip())


class claims_table(nodes.General, nodes.Element):
    """Stands for the table until all chapters have been read."""


def notebooks(env):
    """The notebooks of the book, in reading order."""
    for doc in env.external_site_map:
        if env.doc2path(doc).endswith(".ipynb"):
            yield doc


class Claims(SphinxDirective):
    """Leave ``stand_in`` in the page, to be filled when all are read."""

    stand_in = claims_table

    def run(self):
        for doc in notebooks(self.env):
            self.env.note_dependency(self.env.doc2path(doc))
        return [self.stand_in()]


def stated(doctree):
    """Yield each claim of a chapter with the section its cell stands in."""
    for output in doctree.findall(nodes.literal_block):
        if "stream" not in output["classes"]:
            continue
        section = output.parent
        while not isinstance(section, nodes.section):
            section = section.parent
        for line in output.astext().splitlines():
            try:
                claim = parse(line)
            except ValueError as error:
                log.warning(str(error), location=output)
                continue
            if claim:
                yield claim, section


def link(app, page, doc, section):
    """A reference to a section that shows its number, if it has one."""
    title, anchor = section[0], section["ids"][0]
    numbers = app.env.toc_secnumbers.get(doc, {})
    chapter = isinstance(section.parent, nodes.document)
    number = numbers.get("" if chapter else f"#{anchor}")
    shown = nodes.inline()
    if number:
        shown += nodes.Text(f"{'.'.join(map(str, number))} ")
    shown += [child.deepcopy() for child in title]
    return make_refnode(app.builder, page, doc, anchor, shown)


def row(kind, *cells):
    """One cell alone spans all columns."""
    span = {"morecols": len(COLUMNS) - 1} if len(cells) == 1 else {}
    entries = [
        nodes.entry("", nodes.paragraph("", "", cell), **span)
        for cell in cells
    ]
    return nodes.row("", *entries, classes=[kind])


def build(app, page):
    """How many claims there are, and the table: chapter, section, claims."""
    count, body = 0, nodes.tbody()
    for doc in notebooks(app.env):
        last = None
        for claim, section in stated(app.env.get_doctree(doc)):
            if last is None:
                chapter = next(section.document.findall(nodes.section))
                body += row("chapter", link(app, page, doc, chapter))
                last = chapter
            if section is not last:
                body += row("section", link(app, page, doc, section))
                last = section
            body += row("claim", *map(nodes.Text, claim))
            count += 1
    group = nodes.tgroup(cols=len(COLUMNS))
    group += [nodes.colspec(colwidth=1) for _ in COLUMNS]
    group += [nodes.thead("", row("head", *map(nodes.Text, COLUMNS))), body]
    return count, nodes.table("", group, classes=["claims"])


def fill(app, doctree, page):
    for place in list(doctree.findall(claims_table)):
        count, table = build(app, page)
        total = nodes.paragraph(text=f"{count} claims, in reading order.")
        place.replace_self([total, table] if count else [total])
        load_mathjax(app, page, table)


def load_mathjax(app, page, table):
    """Sphinx does so for a page's own formulas, not for borrowed headings."""
    if next(table.findall(nodes.math), None):
        app.env.get_domain("math").data["has_equations"][page] = True


def setup(app):
    app.add_node(claims_table)
    app.add_directive("claims", Claims)
    app.connect("doctree-resolved", fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
