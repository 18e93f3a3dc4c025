"""Run one exercise of a chapter without running the chapter.

An exercise needs its own cells and the few statements above them that make
the names it uses. They are found by reading the code, not by running it.
"""

from __future__ import annotations

import ast
import re
import symtable
from collections.abc import Iterator

# methods that change their object; so does one that ends in an underscore
CHANGES = {"append", "extend", "insert", "update", "add", "setdefault", "pop"}
COMPREHENSIONS = {"listcomp", "setcomp", "dictcomp", "genexpr"}


class Statement:
    """A top-level statement: the names that it sets, changes and reads."""

    def __init__(self, node: ast.stmt, place: int):
        self.node, self.place = node, place
        table = table_of(node)
        self.sets = {
            symbol.get_name()
            for symbol in table.get_symbols()
            if symbol.is_assigned() or symbol.is_imported()
        }
        self.changes = set(changed(node)) & set(read(table))
        self.reads = set(read_first([node], set()))
        # what functions defined here will read when they are called
        self.later = set(read_later(table))
        # a branch may be passed over; a loop is taken to run
        self.always = not isinstance(node, (ast.If, ast.Try))
        self.is_setting = ast.unparse(node).startswith("torch.set_default_")


def table_of(node: ast.AST) -> symtable.SymbolTable:
    return symtable.symtable(ast.unparse(node), "cell", "exec")


def read(table: symtable.SymbolTable) -> Iterator[str]:
    """The global names that are read, at once or in a function."""
    top = table.get_type() == "module"
    for symbol in table.get_symbols():
        if symbol.is_referenced() and (top or symbol.is_global()):
            yield symbol.get_name()
    for child in table.get_children():
        yield from read(child)


def read_first(body: list[ast.stmt], done: set[str]) -> Iterator[str]:
    """What is read before it is set: not the variable of a loop."""
    for node in body:
        inner = getattr(node, "body", [])
        if isinstance(node, ast.For):
            head, target = node.iter, node.target
        elif isinstance(node, ast.With) and len(node.items) == 1:
            head, target = node.items[0].context_expr, ast.Tuple([])
        else:
            head, target, inner = node, node, []
        names = set(read(table_of(head))) | set(added_to(head))
        yield from names - done
        done |= {
            part.id
            for part in ast.walk(target)
            if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
        }
        yield from read_first(inner, done)


def read_later(table: symtable.SymbolTable) -> Iterator[str]:
    for child in table.get_children():
        at_once = child.get_name() in COMPREHENSIONS
        yield from read_later(child) if at_once else read(child)


def added_to(node: ast.AST) -> Iterator[str]:
    """n of n += 1, which a symbol table does not count as read."""
    for part in ast.walk(node):
        if isinstance(part, ast.AugAssign) and isinstance(
            part.target, ast.Name
        ):
            yield part.target.id


def changed(node: ast.AST) -> Iterator[str]:
    """Names of the objects that a statement changes in place."""
    for part in ast.walk(node):
        if isinstance(part, (ast.Subscript, ast.Attribute)):
            if isinstance(part.ctx, ast.Load):
                continue
        elif isinstance(part, ast.Call):
            part = part.func
            if not isinstance(part, ast.Attribute) or not (
                part.attr in CHANGES or re.search(r"[a-z]_$", part.attr)
            ):
                continue
        else:
            continue
        while isinstance(part, (ast.Subscript, ast.Attribute)):
            part = part.value
        if isinstance(part, ast.Name):
            yield part.id


class Chapter:
    """The code of a notebook, without the magics."""

    def __init__(self, sources: list[str]):
        self.statements: list[Statement] = []
        self.cells: list[range] = []
        for source in sources:
            start = len(self.statements)
            source = re.sub(r"^(\s*)%.*", r"\1pass", source, flags=re.M)
            for node in ast.parse(source).body:
                self.statements.append(Statement(node, len(self.statements)))
            self.cells.append(range(start, len(self.statements)))

    def needed(self, places: set[int]) -> set[int]:
        """The statements at these places and all that they rest on."""
        kept = places | {
            s.place for s in self.statements[: max(places)] if s.is_setting
        }
        seen: set[tuple[str, int]] = set()
        todo = [
            (name, at) for at in kept for name in self.statements[at].reads
        ]
        while todo:
            name, at = todo.pop()
            if (name, at) in seen:
                continue
            seen.add((name, at))
            for s in reversed(self.statements[:at]):
                if name not in s.sets | s.changes:
                    continue
                kept.add(s.place)
                todo += [(other, s.place) for other in s.reads]
                # a function looks its names up when it is called
                todo += [(other, at) for other in s.later]
                if name in s.sets and s.always:
                    break
        return kept
