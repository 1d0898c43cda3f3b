"""What a shell offers when a value is completed. Nothing here imports torch or runs a user's code: a tab has to be quick."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

KNOWN: dict[str, tuple[str, ...]] = {
    "attack": (
        "adam_pgd", "alma", "apgd", "apgd_narrowed", "apgd_targeted", "autoattack", "blur", "brightness", "color_shift",
        "convex_surrogate", "cw", "ddn", "deepfool", "ead", "exhaustive", "fab", "fab_targeted", "fgsm", "fmn",
        "frank_wolfe", "gama_pgd", "greedy_l0", "hopskipjump", "i_fgsm", "jsma", "lbfgs", "malt", "mi_fgsm", "ni_fgsm",
        "noise", "patch", "pdpgd", "pgd", "pgd_kl", "pma", "r_fgsm", "rotation", "sigma_zero", "sparsefool", "square",
        "stadv", "superdeepfool", "translation", "trust_region", "universal", "vfga",
    ),
    "certify": ("alpha-crown", "crown", "crown-ibp", "exhaustive", "ibp", "milp"),
    "audit": ("exhaustive", "quick", "standard", "thorough"),
    "harden": (
        "alp", "augment", "awp", "defensive-distillation", "distill", "dro", "ensemble", "fgsm-rs", "free", "gradalign",
        "ibp", "mart", "multi-norm", "n-fgsm", "noise", "pgd", "robust-transfer", "semi-supervised", "standard", "trades",
    ),
    "threat": (
        "linf:8/255", "l2:0.5", "l1:12", "l0:3", "rotation:30", "translation:3", "spatial:30:3", "flow:0.5", "color:0.1",
        "brightness:0.2", "blur:1.5", "corruption:all:3", "patch:0.1",
    ),
    "kind": ("attacks", "sets", "bounds", "defenses", "plans", "attack", "certify", "audit", "harden"),
    "norm": ("linf", "l2", "l1", "l0"),
    "access": ("white-box", "scores", "decisions"),
    "attribution": (
        "captum:Deconvolution", "captum:DeepLift", "captum:FeatureAblation", "captum:GuidedBackprop", "captum:InputXGradient",
        "captum:IntegratedGradients", "captum:Occlusion", "captum:Saliency", "gradient", "integrated", "none",
    ),
    "form": ("html", "json", "markdown", "junit", "sarif", "csv"),
    "split": ("train", "test", "validation"),
    "device": ("auto", "cpu", "cuda", "cuda:0"),
}  # fmt: skip
"""Names by kind. The catalogue itself would import torch, which takes seconds; a test holds these names to it."""
SKIPPED = ("__pycache__", "node_modules")


def choices_of(field: Any) -> tuple[str, ...]:
    """The words that a field may be, where they are few."""
    parts = (field.annotation, *get_args(field.annotation))
    return next((get_args(part) for part in parts if get_origin(part) is Literal), ())


def completer(field: Any, extra: dict[str, Any]) -> Callable[[str], list[str]] | None:
    """What completes the value of a flag; None where nothing is known of it."""
    if choices := choices_of(field):
        return lambda incomplete: [choice for choice in choices if choice.startswith(incomplete)]
    return completes(str(extra["values"])) if extra.get("values") else None


def completes(kind: str) -> Callable[[str], list[str]]:
    """Values of a kind that begin with what is typed; of lists ("pgd,ap") the last one."""
    finders: dict[str, Callable[[str], Iterator[str]]] = {"runs": _runs, "files": _files, "data": _data, "cite": _cited}

    def complete(incomplete: str) -> list[str]:
        with suppress(OSError, ValueError):  # a folder that may not be read completes to nothing
            if kind in finders:
                return [found for found in dict.fromkeys(finders[kind](incomplete)) if found.startswith(incomplete)]
            before, comma, last = incomplete.rpartition("|" if kind == "threat" else ",")
            names = [name for name in KNOWN[kind] if name.startswith(last)]
            plans = list(_files(last, (".yaml", ".yml"))) if kind == "audit" and not comma else []
            named = KNOWN["attack"] if kind == "audit" and last else ()  # an attack's name is a plan, too
            return [
                f"{before}{comma}{name}" for name in dict.fromkeys((*names, *named)) if name.startswith(last)
            ] + plans
        return []

    return complete


def _entries(incomplete: str) -> Iterator[tuple[Path, str]]:
    """What is in the folder that is typed so far, each with how it is written."""
    written, _, last = incomplete.rpartition("/")
    folder = Path(written or ("/" if incomplete.startswith("/") else ".")).expanduser()
    for path in sorted(folder.iterdir()):
        hidden = path.name.startswith(".") and not last.startswith(".")
        if path.name.startswith(last) and not hidden and path.name not in SKIPPED:
            yield path, f"{written}/{path.name}" if written or incomplete.startswith("/") else path.name


def _files(incomplete: str, endings: tuple[str, ...] = ()) -> Iterator[str]:
    """Files and folders; the functions and classes of a Python file behind its colon."""
    file, colon, _ = incomplete.partition(":")
    if colon and file.endswith(".py"):
        yield from (f"{file}:{name}" for name in _defined(Path(file).expanduser()))
        return
    for path, written in _entries(incomplete):
        if path.is_dir():
            yield f"{written}/"
        elif not endings or path.suffix in endings:
            yield written


def _defined(path: Path) -> list[str]:
    """Functions and classes at the top of a file, read and not run."""
    with suppress(SyntaxError, UnicodeDecodeError):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        return [node.name for node in body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    return []


def _data(incomplete: str) -> Iterator[str]:
    yield from ("digits", "digits:train", "digits:test")
    yield from _files(incomplete)


def _runs(incomplete: str) -> Iterator[str]:
    """Folders: first the runs below runs/, where nothing is typed yet."""
    if not incomplete and Path("runs").is_dir():
        yield from (str(path) for path in sorted(Path("runs").iterdir()) if (path / "manifest.json").is_file())
    for path, written in _entries(incomplete):
        if path.is_dir():
            yield written if (path / "manifest.json").is_file() else f"{written}/"


def _cited(incomplete: str) -> Iterator[str]:
    for verb in ("attack", "certify", "harden"):
        yield from KNOWN[verb]
    yield from _runs(incomplete)
