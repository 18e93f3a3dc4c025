"""`{paper-map}`: the paper item by item, and where the book checks each.

The list is ours; the links are read from the stored outputs of the chapters,
as on the claims page. An item that no cell checks shows an empty place, and
tests/test_book.py refuses it.
"""

from __future__ import annotations

import re

from claims import Claims, link, load_mathjax, notebooks, stated
from docutils import nodes

COLUMNS = ("Paper", "What it says", "Checked in")
SECTIONS = {
    "Section 2, background": {
        "Eq. 1": "a chain of latent variables generates the data",
        "Eq. 2": "its variational bound",
        "Eq. 3": "DDPM's Markov chain in cumulative notation",
        "Eq. 4": "a noisy sample is data mixed with noise",
        "Eq. 5": "the weighted noise loss",
    },
    "Section 3, non-Markovian forward processes": {
        "Eq. 6": "the family, built from the noisy end",
        "Eq. 7": "its kernel backwards, given the data",
        "Eq. 8": "its kernel forwards, by Bayes",
        "Eq. 9": "the guess of the data",
        "Eq. 10": "the generative kernels",
        "Eq. 11": "the variational objective J",
        "Theorem 1": "J is a weighted noise loss plus a constant",
    },
    "Section 4, sampling": {
        "Eq. 12": "the step, with any sigma",
        "Eq. 13": "the deterministic step, rescaled",
        "Eq. 14": "the ODE behind it",
        "Proposition 1": "it is the probability flow",
        "Eq. 15": "the flow's own Euler step",
    },
    "Section 5, experiments": {
        "Eq. 16": "sigma for each eta",
        "Sec. 5.1": "quality against steps",
        "Table 1": "its numbers, for each eta and S",
        "Fig. 4": "cost grows in proportion to S",
        "Sec. 5.2": "the same latent, the same picture",
        "Sec. 5.3": "interpolation between latents",
        "Sec. 5.4": "reconstruction from latents",
        "Table 2": "its error, for each S",
    },
    "Appendix A, discrete data": {
        "Eq. 17": "noise that replaces a symbol",
        "Eq. 18": "three sources of the cleaner symbol",
        "Eq. 19": "the same as one distribution",
        "Eq. 20": "the generative kernel",
        "Eq. 21": "the KL of two such kernels",
    },
    "Appendix B, proofs": {
        "Lemma 1": "the marginals do not depend on sigma",
        "Eq. 22": "its statement",
        "Eq. 23": "the step of the induction",
        "Eq. 24": "its hypothesis",
        "Eq. 25": "the kernel it uses",
        "Eq. 26": "the mean one step down",
        "Eq. 27": "simplified",
        "Eq. 28": "the variance one step down",
        "Eq. 29": "J as a sum over times",
        "Eq. 30": "each KL as a squared error in the data",
        "Eq. 31": "both guesses in terms of noise",
        "Eq. 32": "each KL as a squared error in the noise",
        "Eq. 33": "the same at t = 1",
        "Eq. 34": "its noise form",
        "Eq. 35": "the weights gamma",
        "Eq. 36": "data plus noise of level sigma",
        "Eq. 37": "the rescaled sample",
        "Eq. 38": "sigma from alpha",
        "Eq. 39": "and back",
        "Eq. 40": "alpha from sigma",
        "Eq. 41": "Eq. 4 in continuous time",
        "Eq. 42": "the same, rescaled",
        "Eq. 43": "the deterministic step again",
        "Eq. 44": "the same, rescaled",
        "Eq. 45": "its limit, the ODE",
        "Eq. 46": "the optimal predictor",
        "Eq. 47": "the probability flow of the VE-SDE",
        "Eq. 48": "the score as a regression",
        "Eq. 49": "the score is -eps/sigma",
        "Eq. 50": "put into the flow",
        "Eq. 51": "the two ODEs are one",
    },
    "Appendix C, more derivations": {
        "Eq. 52": "the process on a sub-sequence",
        "Eq. 53": "its kernels",
        "Eq. 54": "its marginals",
        "Eq. 55": "the model on a sub-sequence",
        "Eq. 56": "its sampling kernels",
        "Eq. 57": "its other guesses",
        "Eq. 58": "its objective",
        "Eq. 59": "as a sum of KLs",
        "Eq. 60": "Ho's alpha in our letters",
        "Eq. 61": "Ho's beta in our letters",
        "Eq. 62": "the Gaussian model",
        "Eq. 63": "DDPM's bound in three parts",
        "Eq. 64": "a part as a distance of means",
        "Eq. 65": "the mean in terms of the noise",
        "Eq. 66": "DDPM's weight",
    },
    "Appendix D, experimental details": {
        "App. D.1": "the network",
        "App. D.3": "the sampler with sigma-hat",
        "App. D.5": "lines and grids of latents",
        "Eq. 67": "spherical interpolation",
    },
}
ITEMS = [item for section in SECTIONS.values() for item in section]


def named(paper: str) -> list[str]:
    """The items of the list that a check names: "Eq. 30-35" names six."""
    if paper.startswith("Eq. "):
        found = []
        for first, last in re.findall(r"(\d+)(?:-(\d+))?", paper):
            numbers = range(int(first), int(last or first) + 1)
            found += [f"Eq. {n}" for n in numbers]
        return found
    paper = paper.replace("Prop. ", "Proposition ")
    return [item for item in ITEMS if paper == item]


class paper_map(nodes.General, nodes.Element):
    """Stands for the table until all chapters have been read."""


class PaperMap(Claims):
    stand_in = paper_map


def places(app):
    """From each item to the sections whose cells check it, in order."""
    found = {item: {} for item in ITEMS}
    for doc in notebooks(app.env):
        for claim, section in stated(app.env.get_doctree(doc)):
            for item in named(claim.paper):
                if item in found:
                    found[item].setdefault((doc, section["ids"][0]), section)
    return found


def cell(*children):
    return nodes.entry("", nodes.paragraph("", "", *children))


def build(app, page):
    found, body = places(app), nodes.tbody()
    for title, items in SECTIONS.items():
        head = nodes.entry("", nodes.paragraph(text=title), morecols=2)
        body += nodes.row("", head, classes=["chapter"])
        for item, says in items.items():
            links = []
            for (doc, _), section in found[item].items():
                if links:
                    links.append(nodes.Text("; "))
                links.append(link(app, page, doc, section))
            body += nodes.row(
                "", cell(nodes.Text(item)), cell(nodes.Text(says)),
                cell(*links), classes=["item"],
            )  # fmt: skip
    group = nodes.tgroup(cols=len(COLUMNS))
    group += [nodes.colspec(colwidth=w) for w in (1, 3, 4)]
    head = nodes.row("", *(cell(nodes.Text(name)) for name in COLUMNS))
    group += [nodes.thead("", head), body]
    return nodes.table("", group, classes=["claims", "paper-map"])


def fill(app, doctree, page):
    for place in list(doctree.findall(paper_map)):
        table = build(app, page)
        place.replace_self(table)
        load_mathjax(app, page, table)


def setup(app):
    app.add_node(paper_map)
    app.add_directive("paper-map", PaperMap)
    app.connect("doctree-resolved", fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
