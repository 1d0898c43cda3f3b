"""A user's network: from a function in a file or package, and weights from a file. Nothing is unpickled."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from ironbound.core.errors import ModelError, UsageError
from ironbound.models.weights import fill, read_weights

FORM = "path/to/zoo.py:function or package.module:function"


def load_module(spec: str, weights: str | Path | None = None) -> nn.Module:
    """The network that `spec` names, with the weights of a file where one is given.

    spec: `path/to/zoo.py:name` or `package.module:name`. The name is a function or class that takes no arguments and
        gives an nn.Module, or a module. A file is executed anew at every call, with its folder importable meanwhile;
        modules it imports from there are forgotten afterwards, so that another folder's `layers.py` is not mistaken for
        this one's.
    weights: `.safetensors`, or `.pt` and `.pth` as far as they hold nothing but weights. They must fit exactly.

    Raises UsageError where the spec leads nowhere, ModelError where its code fails or gives no network or weights do
    not fit, DataError where the file of weights cannot be read.
    """
    path, name = parsed(spec)
    if path is not None:
        with _importable(path.parent):
            net = _network(_executed(path), name, spec)
    else:
        net = _network(_imported(spec.rpartition(":")[0]), name, spec)
    if weights is not None:
        fill(net, read_weights(weights), weights)
    return net


def source_digest(spec: str) -> str:
    """SHA-256 in hex of the file that `spec` names, and of the files of its folder that its import statements lead to.

    Raises UsageError where there is none.
    """
    path, _ = parsed(spec)
    files = [] if path is None else _with_neighbours(path)
    if path is None:
        module = spec.rpartition(":")[0]
        try:
            found = importlib.util.find_spec(module)
        except (ImportError, ValueError):
            found = None
        if found is None or not found.has_location or found.origin is None:
            raise UsageError(f"{spec}: no source file is known of {module!r}; expected {FORM}.")
        path = Path(found.origin)
    if len(files) < 2:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    told = [f"{file.relative_to(path.parent)} {hashlib.sha256(file.read_bytes()).hexdigest()}" for file in files]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()


def _with_neighbours(path: Path) -> list[Path]:
    """The file and what it imports from its folder, directly or not; nothing is executed, so that no other way is seen."""
    found, waiting = set[Path](), [path]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            for home, name in _imports(file, path.parent):
                steps = [home.joinpath(*name.split(".")[:i]) for i in range(1, name.count(".") + 2)]
                places = [place for step in steps for place in (step.with_suffix(".py"), step / "__init__.py")]
                waiting += [place for place in places if place.is_file()]
    return sorted(found)


def _imports(file: Path, home: Path) -> list[tuple[Path, str]]:
    """The folder and the name of each module that a file may import: "a.b" of `import a.b` and of `from a import b`."""
    import ast

    try:
        nodes = list(ast.walk(ast.parse(file.read_bytes())))
    except (SyntaxError, ValueError):
        return []
    found = [(home, alias.name) for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            where = file.parents[min(node.level, len(file.parents)) - 1] if node.level else home
            found += [(where, ".".join(filter(None, (node.module, alias.name)))) for alias in node.names]
    return [(where, name) for where, name in found if where.is_relative_to(home)]


def parsed(spec: str) -> tuple[Path | None, str]:
    """The file (None for a package) and the name in it. Raises UsageError for another form or a missing file."""
    if not isinstance(spec, str):
        raise UsageError(f"a model is given as {FORM}; got {type(spec).__name__}.")
    place, colon, name = spec.rpartition(":")
    if not colon or not place or not name.isidentifier():
        whole = Path(spec).expanduser()
        hint = f" It defines {_listed(_defined(whole))}." if whole.suffix == ".py" and whole.is_file() else ""
        raise UsageError(f"a model is given as {FORM}; got {spec!r}.{hint}")
    if not (place.endswith(".py") or "/" in place or "\\" in place):
        return None, name
    path = Path(place).expanduser()
    if not path.is_file():
        near = get_close_matches(path.name, [file.name for file in path.parent.glob("*.py")], n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Expected {FORM}."
        raise UsageError(f"{path}: no such file. {hint}")
    return path, name


def _executed(path: Path) -> ModuleType:
    """The file as a module named after its content, which stays in sys.modules: its classes find their source there."""
    source = path.read_bytes()
    name = f"{path.stem}_{hashlib.sha256(source).hexdigest()[:12]}"
    module = ModuleType(name)
    module.__file__ = str(path.resolve())
    sys.modules[name] = module
    try:
        exec(compile(source, module.__file__, "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise ModelError(
            f"{path}: importing it raised {_said(error)}. Run it with Python alone to find out more."
        ) from error
    return module


def _imported(name: str) -> ModuleType:
    before = list(sys.path)
    sys.path.append(str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise UsageError(f"there is no module {error.name!r}; expected {FORM}. Is it installed?") from error
        raise ModelError(f"importing {name} raised {_said(error)}.") from error
    except (Exception, SystemExit) as error:
        raise ModelError(f"importing {name} raised {_said(error)}.") from error
    finally:
        sys.path[:] = before


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """The folder first on sys.path; afterwards the path is as before and modules from the folder are forgotten."""
    home, path, modules = folder.resolve(), list(sys.path), set(sys.modules)
    sys.path.insert(0, str(home))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = path
        own = {entry.stem for entry in home.iterdir()}
        for name in set(sys.modules) - modules:
            file = getattr(sys.modules[name], "__file__", None) or next(
                iter(getattr(sys.modules[name], "__path__", [])), None
            )
            if name.partition(".")[0] in own and file is not None and Path(file).resolve().is_relative_to(home):
                del sys.modules[name]


def _network(module: ModuleType, name: str, spec: str) -> nn.Module:
    if name not in vars(module):
        names = _callables(module)
        near = get_close_matches(name, names, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"{spec}: there is no {name!r}.{hint} It defines {_listed(names)}.")
    found = vars(module)[name]
    if isinstance(found, nn.Module):
        return found
    if not callable(found):
        raise ModelError(
            f"{spec}: {name!r} is of type {type(found).__name__}; expected a function that returns an nn.Module."
        )
    try:
        net = found()
    except (Exception, SystemExit) as error:
        hint = f" It takes {_signature(found)} and is called without arguments: write a function that fills them in."
        raise ModelError(f"{spec} raised {_said(error)}.{hint if isinstance(error, TypeError) else ''}") from error
    if not isinstance(net, nn.Module):
        raise ModelError(
            f"{spec} returned {type(net).__name__}; expected a torch.nn.Module. Return the network itself."
        )
    return net


def _callables(module: ModuleType) -> list[str]:
    """Public functions, classes and networks that the module defines itself."""
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (isinstance(value, nn.Module) or (callable(value) and getattr(value, "__module__", "") == module.__name__))
    ]


def _defined(path: Path) -> list[str]:
    """The functions and classes of a file, read without executing it."""
    import ast

    try:
        body = ast.parse(path.read_bytes()).body
    except (SyntaxError, ValueError):
        return []
    return [
        node.name
        for node in body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
    ]


def _listed(names: list[str]) -> str:
    return ", ".join(names[:12]) + (" and more" if len(names) > 12 else "") if names else "no functions or classes"


def _signature(function: Any) -> str:
    try:
        return str(inspect.signature(function))
    except (TypeError, ValueError):
        return "(...)"


def _said(error: BaseException) -> str:
    """The error in one line."""
    return f"{type(error).__name__}: {error}".strip().rstrip(":. ").replace("\n", " ")[:300]
