"""Finds, in source text, where a dataset of Ray Data's is brought together on the driver, or is run for a number.

Names of methods alone do not tell: tables of Arrow have a `take`, strings a `count`. So each name in a function is
followed from where a dataset comes in (an annotation, a function that returns one, `ray.data.range` and its like)
through assignments and loops. A few methods that nothing else has are found wherever they stand.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import ray.data

STREAM: Final = "iter_batches"
"""The one way to the driver that holds little: whoever takes it must say what it takes."""
_LAZY: Final = frozenset(
    {"add_column", "context", "copy", "drop_columns", "explain", "filter", "flat_map", "get_dataset_id", "groupby"}
    | {"has_serializable_lineage", "join", "limit", "map", "map_batches", "map_batches_internal", "mix", "name"}
    | {"random_sample", "random_shuffle", "randomize_block_order", "rename_columns", "repartition", "select_columns"}
    | {"serialize_lineage", "deserialize_lineage", "set_name", "sort", "union", "with_column", "with_columns", "zip"}
)
"""Methods of a dataset that run nothing. What a later Ray adds is taken to run something."""
CONSUMING: Final = frozenset(
    name
    for name in dir(ray.data.Dataset)
    if not name.startswith(("_", "write_")) and name not in _LAZY and name != STREAM
)
EVERYWHERE: Final = frozenset({"materialize", "take_all", "take_batch", "to_pandas", "iter_rows", "show"}) | {
    name for name in CONSUMING if name.endswith("_refs")
}


class Collected(NamedTuple):
    """A place where a dataset is collected."""

    line: int
    method: str


class Sources:
    """Where datasets come from, as the annotations of some modules say: functions, and fields of classes."""

    def __init__(self, files: Iterable[Path]) -> None:
        self.functions: set[str] = set()
        self.fields: set[str] = set()
        for file in files:
            self.add(file.read_text(encoding="utf-8"))

    def add(self, text: str) -> None:
        """Take in what a module declares."""
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _says_dataset(node.returns):
                self.functions.add(node.name)
            if isinstance(node, ast.ClassDef):
                self.fields |= {
                    part.target.id
                    for part in node.body
                    if isinstance(part, ast.AnnAssign)
                    and isinstance(part.target, ast.Name)
                    and _says_dataset(part.annotation)
                }


def collected(text: str, sources: Sources) -> list[Collected]:
    """Return every place of a module at which a dataset is collected, or streamed to the driver, by line."""
    tree = ast.parse(text)
    own = Sources(())  # with the fields that objects of this module are given beside those that classes declare
    own.functions, own.fields = sources.functions, set(sources.fields)
    known = -1
    while known < len(own.fields):
        known = len(own.fields)
        found = set(_in_scope(tree, frozenset(), own))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in EVERYWHERE:
            found.add(Collected(node.lineno, node.attr))
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in ("getattr", "methodcaller"):
            asked = {part.value for part in node.args if isinstance(part, ast.Constant)}
            found |= {Collected(node.lineno, name) for name in asked & (CONSUMING | {STREAM})}
    return sorted(found)


def _in_scope(scope: ast.AST, known: frozenset[str], sources: Sources) -> Iterator[Collected]:
    """Yield what a module, class or function does with the datasets that it knows by name, and those within it."""
    parts, within = _own(scope)
    names = set(known)
    if isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        given = scope.args
        every = [*given.posonlyargs, *given.args, *given.kwonlyargs, *filter(None, [given.vararg, given.kwarg])]
        names -= {one.arg for one in every}
        names |= {one.arg for one in every if _says_dataset(one.annotation)}
    before: set[str] | None = None
    while before != names:  # (a name may be used, in a loop, above the line that gives it)
        before = set(names)
        for part in parts:
            for target, value in _given(part):
                if _holds_dataset(value, names, sources):
                    if isinstance(target, ast.Attribute):
                        sources.fields.add(target.attr)
                    else:
                        names |= {one.id for one in ast.walk(target) if isinstance(one, ast.Name)}
    for part in parts:
        if (
            isinstance(part, ast.Attribute)
            and part.attr in CONSUMING | {STREAM}
            and _holds_dataset(part.value, names, sources)
        ):
            yield Collected(part.lineno, part.attr)
    for inner in within:
        yield from _in_scope(inner, frozenset(names), sources)


def _own(scope: ast.AST) -> tuple[list[ast.AST], list[ast.AST]]:
    """Return the nodes of a scope that are in no scope within it, and the scopes within it."""
    parts: list[ast.AST] = []
    within: list[ast.AST] = []
    waiting = list(ast.iter_child_nodes(scope))
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            within.append(node)
        else:
            parts.append(node)
            waiting += ast.iter_child_nodes(node)
    return parts, within


def _given(node: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
    """Yield each target of an assignment, a loop or a `with`, and what it is given."""
    match node:
        case ast.Assign(targets=targets, value=value):
            yield from ((target, value) for target in targets)
        case (
            ast.AnnAssign(target=target, value=ast.expr() as value)
            | ast.AugAssign(target=target, value=value)
            | ast.NamedExpr(target=target, value=value)
            | ast.For(target=target, iter=value)
            | ast.comprehension(target=target, iter=value)
        ):
            yield target, value
        case ast.withitem(context_expr=value, optional_vars=ast.expr() as target):
            yield target, value
        case _:
            return


def _holds_dataset(value: ast.AST, names: set[str], sources: Sources) -> bool:
    """Whether an expression is a dataset, or holds or is made of one."""
    match value:
        case ast.Call(func=ast.Attribute(attr=attr)) if attr == STREAM:
            return False  # batches
        case ast.Name(id=name):
            return name in names or name in sources.functions
        case ast.Attribute(value=ast.Attribute(value=ast.Name(id="ray"), attr="data"), attr=attr):
            return attr[0].islower()  # range, from_items, read_parquet; not DataContext
        case ast.Attribute(attr=attr) if attr in sources.functions | sources.fields:
            return True
        case _:
            return any(_holds_dataset(part, names, sources) for part in ast.iter_child_nodes(value))


def _says_dataset(annotation: ast.expr | None) -> bool:
    return annotation is not None and any(
        (isinstance(part, ast.Attribute) and part.attr == "Dataset")
        or (isinstance(part, ast.Name) and part.id == "Dataset")
        or (isinstance(part, ast.Constant) and "Dataset" in str(part.value))
        for part in ast.walk(annotation)
    )
