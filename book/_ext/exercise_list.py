"""`{exercise-list} depth`, or `chapter`: every exercise of the book.

The first exercise of a chapter has depth 1, the second depth 2, those after it
depth 3. One that is out of line says so: `:class: depth-2`. Titles and first
sentences are read from the chapters, so the list can't drift from them.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from claims import Claims, link, load_mathjax, notebooks, row
from docutils import nodes
from sphinx.util.nodes import make_refnode
from sphinx_exercise.nodes import exercise_subtitle, is_exercise_node

DEPTHS = {1: "First", 2: "Second", 3: "Third and beyond"}
# a full stop that ends a sentence: not that of "Eq. 3" or "i.e. so"
END = re.compile(
    r"(?<!\bEq)(?<!\bSec)(?<!\bApp)(?<!\bFig)(?<!\.\w)[.?!](?=\s)"
)


class Exercise(NamedTuple):
    doc: str
    anchor: str
    number: str
    title: str
    depth: int
    asks: list[nodes.Node]


class exercise_list(nodes.General, nodes.Element):
    """Stands for the lists until all chapters have been read."""


class ExerciseList(Claims):
    required_arguments = 1  # by: "depth" or "chapter"

    def run(self):
        super().run()  # for the dependencies
        return [exercise_list(by=self.arguments[0])]


def first_sentence(node) -> list[nodes.Node]:
    """Copied from its first paragraph; a link becomes its text."""
    out = []
    for child in next(node.findall(nodes.paragraph)).children:
        if isinstance(child, nodes.Text):
            text = str(child)
            if end := END.search(text + " "):
                return [*out, nodes.Text(text[: end.end()])]
            out.append(nodes.Text(text))
        elif isinstance(child, (nodes.math, nodes.literal, nodes.emphasis)):
            out.append(child.deepcopy())
        else:
            out.append(nodes.Text(child.astext()))
    return out


def exercises(app, doc):
    numbers = app.env.toc_fignumbers.get(doc, {}).get("exercise", {})
    found = app.env.get_doctree(doc).findall(is_exercise_node)
    for order, node in enumerate(found, 1):
        anchor = node["ids"][0]
        subtitle = next(node.findall(exercise_subtitle))
        own = [c[6:] for c in node["classes"] if c.startswith("depth-")]
        yield Exercise(
            doc,
            anchor,
            ".".join(map(str, numbers[anchor])),
            subtitle.astext(),
            int(own[0]) if own else min(order, max(DEPTHS)),
            first_sentence(node),
        )


def refer(app, page, exercise):
    shown = nodes.inline(text=f"{exercise.number} {exercise.title}")
    return make_refnode(
        app.builder, page, exercise.doc, exercise.anchor, shown
    )


def by_depth(app, page, found):
    """A paragraph of links for each depth."""
    for depth, name in DEPTHS.items():
        own = [exercise for exercise in found if exercise.depth == depth]
        paragraph = nodes.paragraph("", "", nodes.strong(text=f"{name}: "))
        for exercise in own:
            if exercise is not own[0]:
                paragraph += nodes.Text(" · ")
            paragraph += refer(app, page, exercise)
        yield paragraph


def by_chapter(app, page, found):
    """A table: the chapter, then its exercises."""
    body, doc = nodes.tbody(), None
    for exercise in found:
        if exercise.doc != doc:
            doc = exercise.doc
            title = next(app.env.get_doctree(doc).findall(nodes.section))
            body += row("chapter", link(app, page, doc, title))
        asks = nodes.inline("", "", *exercise.asks)
        cells = refer(app, page, exercise), asks, nodes.Text(exercise.depth)
        body += row("exercise", *cells)
    head = map(nodes.Text, ("Exercise", "It begins", "Depth"))
    group = nodes.tgroup(cols=3)
    group += [nodes.colspec(colwidth=width) for width in (4, 9, 1)]
    group += [nodes.thead("", row("head", *head)), body]
    yield nodes.table("", group, classes=["claims", "exercises"])


def fill(app, doctree, page):
    places = list(doctree.findall(exercise_list))
    if not places:
        return
    found = [e for doc in notebooks(app.env) for e in exercises(app, doc)]
    for place in places:
        build = {"depth": by_depth, "chapter": by_chapter}[place["by"]]
        made = list(build(app, page, found))
        if place["by"] == "chapter":
            load_mathjax(app, page, made[0])
        place.replace_self(made)


def setup(app):
    app.add_node(exercise_list)
    app.add_directive("exercise-list", ExerciseList)
    app.connect("doctree-resolved", fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
