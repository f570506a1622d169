"""What a migration *is*, so that an edited one is not taken for a reformatted one, and a retried one from a new one."""

from __future__ import annotations

import ast
import hashlib
import inspect
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from django.db.migrations.migration import Migration

from rupaya.migrator.plan.manifest import content_hash

_PLACE = {"dependencies", "run_before", "replaces", "initial"}
"""What a migration says of its place among the others."""


def source_path(migration: Migration) -> Path:
    """The file that defines a migration; ``Path()``, where no file is, if there is none to read."""
    return Path(_file_of(migration))


def _file_of(migration: Migration) -> str:
    try:
        return inspect.getfile(type(migration))
    except (TypeError, OSError):
        return ""


@lru_cache(maxsize=1024)
def fingerprint(source: bytes) -> str:
    """A hash of what a migration's file does, a dot, and one of its place among the others.

    Formatting, comments and docstrings change neither. It depends on the Python version, whose `ast.dump` it uses:
    compare within one version only.
    """
    tree = ast.parse(source)
    place: list[ast.stmt] = []
    for node in _with_statements(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:] or [ast.Pass()]
        if isinstance(node, ast.ClassDef) and node.name == "Migration":
            place += [line for line in node.body if _is_place(line)]
            node.body = [line for line in node.body if not _is_place(line)] or [ast.Pass()]
    does, stands = (hashlib.sha256(text.encode()) for text in (ast.dump(tree), "".join(map(ast.dump, place))))
    return f"{does.hexdigest()}.{stands.hexdigest()[:16]}"


def _with_statements(node: ast.AST) -> Iterator[ast.AST]:
    """A node and all in it that has statements of its own, outermost first; expressions, which have none, are most."""
    yield node
    for field in ("body", "orelse", "handlers", "finalbody", "cases"):
        for child in getattr(node, field, ()):
            yield from _with_statements(child)


def do_the_same(one: str, other: str) -> bool:
    """Whether the migrations of two fingerprints do the same.

    Their places may differ: finishing a squash changes `dependencies` and `replaces` of what was applied long ago,
    https://docs.djangoproject.com/en/5.2/topics/migrations/#squashing-migrations.
    """
    return one.partition(".")[0] == other.partition(".")[0]


def _is_place(line: ast.stmt) -> bool:
    targets = line.targets if isinstance(line, ast.Assign) else [line.target] if isinstance(line, ast.AnnAssign) else []
    return any(isinstance(target, ast.Name) and target.id in _PLACE for target in targets)


@lru_cache(maxsize=4096)
def _source(file: str) -> bytes:
    """What a migration's file says, read once: a process runs the code that it has loaded."""
    path = Path(file)
    return path.read_bytes() if path.is_file() else b""


def file_hash_of(migration: Migration) -> str:
    """The hash of a migration's file; an empty text where there is none to read."""
    return content_hash(_file_of(migration))


def migration_hashes(migration: Migration) -> tuple[str, str]:
    """A migration's fingerprint and file hash; empty texts where there is no source to read."""
    file = _file_of(migration)
    # Of a compiled one, what it does cannot be read off it.
    source = _source(file) if file.endswith(".py") else b""
    return (fingerprint(source) if source else ""), content_hash(file)
