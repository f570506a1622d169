"""Small changes of Python's meaning, each of which some test ought to notice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider

_COMPARISONS: dict[type[cst.BaseCompOp], type[cst.BaseCompOp]] = {
    cst.Equal: cst.NotEqual,
    cst.NotEqual: cst.Equal,
    cst.LessThan: cst.GreaterThanEqual,
    cst.LessThanEqual: cst.GreaterThan,
    cst.GreaterThan: cst.LessThanEqual,
    cst.GreaterThanEqual: cst.LessThan,
    cst.Is: cst.IsNot,
    cst.IsNot: cst.Is,
    cst.In: cst.NotIn,
    cst.NotIn: cst.In,
}
_BINARY: dict[type[cst.BaseBinaryOp], type[cst.BaseBinaryOp]] = {
    cst.Add: cst.Subtract,
    cst.Subtract: cst.Add,
    cst.Multiply: cst.Divide,
    cst.Divide: cst.Multiply,
    cst.BitOr: cst.BitAnd,
    cst.BitAnd: cst.BitOr,
}
_NAMES = {"True": "False", "False": "True", "None": "True"}
LARGE = 100
"""From here on one more is no difference that anybody should notice, and ten times as much is."""


@dataclass(frozen=True)
class Mutant:
    """One change: where, what was there, what stands there now, and the whole new text of the module."""

    path: str
    line: int
    before: str
    after: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.before}  ->  {self.after}"


@dataclass(frozen=True)
class Candidate:
    """A mutant whose text is not made yet: that takes longer than all the rest."""

    path: str
    line: int
    before: str
    after: str
    make: Callable[[], str]

    def made(self) -> Mutant:
        """The mutant."""
        return Mutant(self.path, self.line, self.before, self.after, self.make())


def _changes(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """What may stand in a node's place."""
    if isinstance(node, cst.ComparisonTarget) and (other := _COMPARISONS.get(type(node.operator))):
        yield node.with_changes(operator=other())
    elif isinstance(node, cst.BooleanOperation):
        other_operator = cst.Or() if isinstance(node.operator, cst.And) else cst.And()
        yield node.with_changes(operator=other_operator)
    elif isinstance(node, cst.UnaryOperation) and isinstance(node.operator, cst.Not):
        yield node.expression.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
    elif isinstance(node, cst.BinaryOperation) and (other_binary := _BINARY.get(type(node.operator))):
        yield node.with_changes(operator=other_binary())
    elif isinstance(node, cst.Name) and node.value in _NAMES:
        yield node.with_changes(value=_NAMES[node.value])
    elif isinstance(node, cst.Integer):
        value = int(node.value, 0)
        yield node.with_changes(value=str(value + 1 if value < LARGE else value * 10))
    elif isinstance(node, cst.If | cst.While | cst.IfExp):
        yield node.with_changes(
            test=cst.UnaryOperation(cst.Not(), node.test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()]))
        )
    elif isinstance(node, cst.Return) and node.value is not None and not _is_named(node.value):
        yield node.with_changes(value=cst.Name("None"))
    elif isinstance(node, cst.Raise | cst.Break | cst.Continue | cst.AugAssign) or (
        isinstance(node, cst.Expr) and isinstance(node.value, cst.Call)
    ):
        yield cst.Pass()


def _is_named(node: cst.BaseExpression) -> bool:
    """Whether it is True, False or None, which is changed into another by itself; None for False is the same to all."""
    return isinstance(node, cst.Name) and node.value in _NAMES


class _Replace(cst.CSTTransformer):
    def __init__(self, old: cst.CSTNode, new: cst.CSTNode) -> None:
        super().__init__()
        self.old, self.new = old, new

    def on_leave(self, original_node: Any, updated_node: Any) -> Any:
        return self.new if original_node is self.old else updated_node


class _Nodes(cst.CSTVisitor):
    """Every node but those of annotations, docstrings' statements and names of arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[cst.CSTNode] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, cst.Annotation | cst.Decorator | cst.Import | cst.ImportFrom):
            return False
        self.found.append(node)
        return True


def candidates(path: str, text: str) -> Iterator[Candidate]:
    """Every mutant that a module has."""
    wrapper = MetadataWrapper(cst.parse_module(text), unsafe_skip_copy=True)
    positions = wrapper.resolve(PositionProvider)
    nodes = _Nodes()
    wrapper.module.visit(nodes)
    for node in nodes.found:
        for changed in _changes(node):
            yield Candidate(
                path,
                positions[node].start.line,
                _first_line(wrapper.module.code_for_node(node)),
                _first_line(wrapper.module.code_for_node(changed)),
                partial(_rendered, wrapper.module, node, changed),
            )


def _rendered(module: cst.Module, old: cst.CSTNode, new: cst.CSTNode) -> str:
    return module.visit(_Replace(old, new)).code


def _first_line(code: str) -> str:
    """The first line that is no comment: a statement's code begins with those above it."""
    lines = [line for line in code.strip().splitlines() if not line.lstrip().startswith("#")]
    return lines[0].strip()[:80] if lines else ""
