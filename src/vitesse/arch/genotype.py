"""Genotypes as text: our JSON, and the form in which the DARTS family publishes its cells. Nothing in it can run code.

The published form is a Python expression, `Genotype(normal=[[('sep_conv_3x3', 0), ...], ...], normal_concat=range(2, 6),
reduce=..., reduce_concat=...)`, alone or as the values of a JSON object with one for each stage, {"0": "...", "1": ...}.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from typing import Any

from vitesse.arch.cells import Cell, Edge, Genotype
from vitesse.arch.codec import from_data, to_data

_FIELDS = ("normal", "normal_concat", "reduce", "reduce_concat")


def genotype_text(genotype: Genotype) -> str:
    """A genotype in the published form."""
    cells = {"normal": genotype.normal, "reduce": genotype.reduce}
    parts = []
    for name, cell in cells.items():
        edges = [[(edge.operation, edge.source) for edge in node] for node in cell.nodes]
        parts += [f"{name}={edges}", f"{name}_concat={_range_text(cell.concat)}"]
    return f"Genotype({', '.join(parts)})"


def genotypes_text(genotypes: Sequence[Genotype]) -> str:
    """One genotype for each stage, as the published files have them."""
    return json.dumps({str(s): genotype_text(one) for s, one in enumerate(genotypes)})


def genotypes_json(genotypes: Sequence[Genotype]) -> str:
    """The same in the JSON of architectures."""
    return json.dumps(to_data(tuple(genotypes)), sort_keys=True, separators=(",", ":"))


def read_genotypes(text: str) -> tuple[Genotype, ...]:
    """The genotypes in a text of any of these forms; one alone stands for itself. ValueError says what is wrong, and where."""
    text = text.strip()
    if text.startswith("Genotype"):
        return (parse_genotype(text),)
    try:
        data = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"Genotypes are JSON or begin with Genotype(, but this does not: {error}.") from None
    if isinstance(data, dict) and "type" not in data:
        return tuple(_stage(data, s) for s in range(len(data)))
    found = from_data(data, "genotype")
    found = found if isinstance(found, tuple) else (found,)
    if not found or not all(isinstance(one, Genotype) for one in found):
        raise ValueError("There must be one Genotype or more, but the JSON holds something else.")
    return found


def _stage(data: dict[str, Any], number: int) -> Genotype:
    text = data.get(str(number))
    if not isinstance(text, str):
        raise ValueError(
            f'The stages must be named "0" to "{len(data) - 1}", each with a text, but got {sorted(data)}.'
        )
    try:
        return parse_genotype(text)
    except ValueError as error:
        raise ValueError(f'The genotype of stage "{number}": {error}') from None


def parse_genotype(text: str) -> Genotype:
    """The genotype in the published form; ValueError says what is wrong."""
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"A genotype is an expression Genotype(...), but this is none: {error}.") from None
    if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Name) or tree.func.id != "Genotype":
        raise ValueError(f"A genotype is an expression Genotype(...), but this is {_short(tree)}.")
    names = [keyword.arg for keyword in tree.keywords]
    if tree.args or sorted(map(str, names)) != sorted(_FIELDS):
        raise ValueError(f"A Genotype has {', '.join(_FIELDS)}, but this one has {', '.join(map(str, names))}.")
    fields = {str(keyword.arg): keyword.value for keyword in tree.keywords}
    return Genotype(
        *(Cell(_nodes(fields[name], name), _concat(fields[f"{name}_concat"], name)) for name in ("normal", "reduce"))
    )


def _nodes(tree: ast.expr, name: str) -> tuple[tuple[Edge, ...], ...]:
    nodes = _literal(tree, name)
    lists = isinstance(nodes, (list, tuple)) and all(isinstance(node, (list, tuple)) for node in nodes)
    if not lists or not all(isinstance(edge, (list, tuple)) and len(edge) == 2 for node in nodes for edge in node):
        raise ValueError(f"{name} must be a list of nodes, each a list of (operation, source).")
    return tuple(tuple(Edge(*edge) for edge in node) for node in nodes)


def _concat(tree: ast.expr, name: str) -> tuple[int, ...]:
    """`range(2, 6)`, or the numbers themselves."""
    if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and tree.func.id == "range" and not tree.keywords:
        ends = [_literal(argument, f"{name}_concat") for argument in tree.args]
        if not 1 <= len(ends) <= 2 or not all(isinstance(end, int) and 0 <= end < 1000 for end in ends):
            raise ValueError(f"{name}_concat must be a range of states, but got {_short(tree)}.")
        return tuple(range(*ends))
    numbers = _literal(tree, f"{name}_concat")
    if not isinstance(numbers, (list, tuple)):
        raise ValueError(f"{name}_concat must be a list of states, but got {_short(tree)}.")
    return tuple(numbers)


def _literal(tree: ast.expr, name: str) -> Any:
    try:
        return ast.literal_eval(tree)
    except (ValueError, TypeError, RecursionError, MemoryError):
        raise ValueError(f"{name} must hold words, numbers and lists alone, but got {_short(tree)}.") from None


def _short(tree: ast.AST) -> str:
    text = ast.unparse(tree)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _range_text(concat: tuple[int, ...]) -> str:
    whole = range(concat[0], concat[-1] + 1)
    return f"range({whole.start}, {whole.stop})" if concat == tuple(whole) else str(list(concat))
