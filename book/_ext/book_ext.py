"""What the book needs from Sphinx that no setting gives."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.environment.collectors.toctree import TocTreeCollector

ROOT = Path(__file__).resolve().parents[2]


def number_by_file_name(app):
    """Give chapter 07-ddim-step the number 7, whatever stands before it.

    Prose, exercises and claims can then name a chapter by its number before
    every chapter is written. Sphinx has no event between the numbering of
    sections and that of figures, which depends on it.
    """
    assign = TocTreeCollector.assign_figure_numbers

    def assign_figure_numbers(self, env):
        for doc, numbers in env.toc_secnumbers.items():
            match = re.match(r"\d+", doc)
            if match is None:
                continue
            first = int(match[0])
            for anchor, number in numbers.items():
                if number:
                    numbers[anchor] = (first, *number[1:])
            shown = [env.titles[doc], *env.tocs[doc].findall(nodes.reference)]
            for node in shown:
                if node.get("secnumber"):
                    node["secnumber"] = [first, *node["secnumber"][1:]]
        return assign(self, env)

    TocTreeCollector.assign_figure_numbers = assign_figure_numbers


def keep_tags(app, doctree):
    r"""Let ``\tag`` stand in a displayed equation of several lines.

    Sphinx wraps such an equation in ``split``, where MathJax refuses a tag.
    Equations of class amsmath, a MyST extension, are left as they are written.
    """
    for node in doctree.findall(nodes.math_block):
        text = node.astext()
        if r"\tag" in text and r"\\" in text:
            node["classes"].append("amsmath")


def name_anchors(app, doctree):
    """Let `glossary.md#term-score` and `api.md#ddim_edu.step.Step` be links.

    Unlike a role, Jupyter shows them. MyST looks an anchor up among the
    headings of its page; terms and what autodoc documents join them here.
    It still warns of an anchor that is neither.
    """
    slugs = app.env.metadata[app.env.docname].setdefault("myst_slugs", {})
    for kind in (nodes.term, addnodes.desc_signature):
        for node in doctree.findall(kind):
            for anchor in node["ids"]:
                slugs.setdefault(anchor, (0, anchor, node.astext()))


def keep_bars(app, what, name, obj, options, lines):
    """Let |x|^2 stand in a docstring: reST takes bars for substitutions."""
    for i, line in enumerate(lines):
        lines[i] = re.sub(r"(`+.+?`+)|\|", lambda m: m[1] or r"\|", line)


def drop_second_scripts(app, pagename, templatename, context, doctree):
    """Load a script once that two extensions register (console errors)."""
    scripts = context.get("script_files", [])
    scripts[:] = {
        (js.filename or "", js.attributes.get("body")): js for js in scripts
    }.values()


def setup(app):
    # autodoc documents this checkout, whatever is installed
    sys.path.insert(0, str(ROOT))
    app.connect("builder-inited", number_by_file_name)
    app.connect("doctree-read", keep_tags)
    app.connect("doctree-read", name_anchors)
    app.connect("autodoc-process-docstring", keep_bars)
    app.connect("html-page-context", drop_second_scripts, priority=900)
    return {
        "env_version": 1,  # a new one has all pages read again
        "parallel_read_safe": True,
        "parallel_write_safe": True,
    }
