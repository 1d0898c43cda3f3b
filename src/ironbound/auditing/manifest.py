"""The manifest of a run: everything that its results depend on, as fingerprints and as words."""

from __future__ import annotations

import hashlib
import math
import os
import platform
import sys
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from ironbound.auditing.passing import Survey, surveyed
from ironbound.auditing.plan import Bounds, Plan
from ironbound.certification.catalogue import repeated, settings_of
from ironbound.core.describe import fingerprint, parts_of, state_digest
from ironbound.core.predict import predict
from ironbound.core.protocols import PerturbationSet
from ironbound.core.rng import Rng, content_keys
from ironbound.core.version import __version__
from ironbound.data.dataset import Data
from ironbound.models.model import Model
from ironbound.sets.threat import radius_text, spec_of

SCHEMA = 1
PROBES = 4
PROBE_TOLERANCE = 1e-4
READERS = ("cli/", "tracking/", "auditing/report/", "auditing/forms/", "auditing/gate/")
"""Parts of Ironbound that no verdict depends on."""
NAMES = {
    "model": "the model (weights, class source, range, preprocessing or outputs)",
    "data": "the data set (its rows, labels or further columns)",
    "threat": "the threat",
    "plan": "the plan (stages, attacks or their settings)",
    "seed": "the seed",
    "code": "Ironbound itself (its version or source)",
}


def manifest_of(
    model: Model, data: Data, threat: PerturbationSet, plan: Plan, seed: int, pool: int, origin: dict[str, Any],
    survey: Survey | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The manifest of a run that is about to begin. `origin` says how to load model and data again, where that is known."""
    survey, first = survey or surveyed(data), data.first
    return {
        "schema": SCHEMA,
        "ironbound": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": {
            "name": model.name, "outputs": model.outputs, "range": None if model.box is None else list(model.box),
            "parameters": sum(p.numel() for p in model.net.parameters()), "random": model.random, "classes": model.classes,
            "dtype": str(model.dtype), "device": str(model.device), "training_mode": model.net.training,
        },
        "data": {
            "name": data.name, "rows": len(data), "classes": list(data.classes or ()), "columns": sorted(data.columns),
            "shape": list(first.shape[1:]) if isinstance(first, torch.Tensor) else None,
            "low": survey.low, "high": survey.high,
        },
        "threat": threat_facts(threat, model.box),
        "plan": {
            "name": plan.name, "stages": ["clean", *(stage.name for stage in plan.stages)],
            **({"notes": notes} if (notes := plan.notes(model.classes)) else {}),
        },
        "kinds": {"clean": "clean", **{stage.name: stage.kind for stage in plan.stages}},
        "bounds": {stage.name: stage.method.name for stage in plan.stages if isinstance(stage, Bounds)},
        "settings": {stage.name: settings_of(stage.method) for stage in plan.stages if isinstance(stage, Bounds)},
        "seed": seed,
        "pool": pool,
        "origin": origin,
        "fingerprints": fingerprints(model, data, threat, plan, seed, survey),
        "probes": probe_logits(model, data, survey),
        "environment": environment(),
    }  # fmt: skip


def bound_of(manifest: dict[str, Any], stage: str) -> Any:
    """The method of certification that a stage of a run was; None where it cannot be made again from its name."""
    name = manifest.get("bounds", {}).get(stage, stage)
    return repeated(name, manifest.get("settings", {}).get(stage, {}))


def fingerprints(
    model: Model, data: Data, threat: PerturbationSet, plan: Plan, seed: int, survey: Survey | None = None
) -> dict[str, str]:
    """What must be equal for two runs to have the same verdicts."""
    return {
        "model": model_fingerprint(model),
        "data": (survey or surveyed(data)).fingerprint,
        "threat": fingerprint(threat),
        "plan": fingerprint(plan),
        "seed": str(seed),
        "code": code_digest(),
    }


def model_fingerprint(model: Model) -> str:
    """Weights by value, code by source, range, preprocessing and kind of output."""
    parts = parts_of(model.net)
    return fingerprint([state_digest(model.module), model.outputs, model.box, str(model.dtype), model.random, parts])


def probe_logits(model: Model, data: Data, survey: Survey | None = None) -> list[list[float | None]]:
    """What the model answers to the few samples with the smallest keys (None: NaN, infinity): it shows changes of the model
    of which its state says nothing.
    """
    few = data.take((survey or surveyed(data)).smallest(PROBES))
    x, y = model.admit(few.x, few.y)
    out = predict(model, x, Rng.of(0, content_keys(x, y).to(model.device)))
    return [[float(v) if math.isfinite(v) else None for v in row.flatten()] for row in out.double().cpu()]


def probes_differ(then: list[list[float | None]], now: list[list[float | None]]) -> str:
    """In words, by how much answers to the probes differ, beyond what another machine's rounding explains; or ""."""
    was, new = ([v for row in rows for v in row] for rows in (then, now))
    if len(was) != len(new) or any((a is None) != (b is None) for a, b in zip(was, new, strict=True)):
        return "the model answers the probe inputs in another form than in the run"
    pairs = [(a, b) for a, b in zip(was, new, strict=True) if a is not None and b is not None]
    far, scale = max((abs(a - b) for a, b in pairs), default=0.0), max((abs(a) for a, _ in pairs), default=1.0)
    if far <= PROBE_TOLERANCE * max(scale, 1.0):
        return ""
    return f"the model answers the probe inputs otherwise than in the run, by up to {far:.3g}"


@cache
def code_digest() -> str:
    """The source of Ironbound, as far as verdicts depend on it: neither the command line nor what reads a run does anything."""
    digest = hashlib.blake2b(__version__.encode(), digest_size=8)
    root = Path(__file__).parents[1]
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root).as_posix()
        if not name.startswith(READERS):
            digest.update(name.encode() + path.read_bytes())
    return digest.hexdigest()


def environment() -> dict[str, str]:
    """The machine and the versions, as far as they change results or times."""
    facts = {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "threads": str(torch.get_num_threads()),
        "torch": str(torch.__version__),
    }
    for package in ("numpy", "scipy", "pyarrow"):
        try:
            facts[package] = version(package)
        except PackageNotFoundError:  # vendored
            continue
    if torch.cuda.is_available():
        facts["cuda"] = torch.cuda.get_device_name()
    return facts


def threat_facts(threat: Any, box: Any) -> dict[str, Any]:
    """The threat in words and numbers. `spec` is what one types, where parse_threat can read it."""
    parts, norm = getattr(threat, "parts", ()), getattr(threat, "norm", "union" if hasattr(threat, "parts") else "")
    eps, within = getattr(threat, "eps", None), "" if box is None else f", within [{box[0]:g}, {box[1]:g}]"
    radius = eps if isinstance(eps, float) and math.isfinite(eps) else None
    texts = [_sentence(part) for part in parts or (threat,)]
    spec = spec_of(threat) or _said(threat)
    return {"spec": spec, "norm": norm or type(threat).__name__, "radius": radius, "text": "; or ".join(texts) + within}


def _sentence(threat: Any) -> str:
    """What one may change, in words."""
    if hasattr(threat, "sentence"):
        said: str = threat.sentence
        return said
    norm, eps = getattr(threat, "norm", ""), getattr(threat, "eps", None)
    unit = getattr(threat, "of", "pixels")
    texts = {
        "linf": "each input value may change by at most {}",
        "l2": "an input may change by at most {} in Euclidean distance",
        "l1": "the values of an input may change by at most {} in sum",
        "l0": f"at most {{}} {unit} of an input may change, by any amount",
    }
    if norm not in texts or eps is None:
        return repr(threat)
    where = "" if getattr(threat, "mask", None) is None else " where a mask allows it"
    if isinstance(eps, float) and math.isinf(eps):
        return f"an input may change at will{where}"
    if isinstance(eps, torch.Tensor):
        return texts[norm].format(f"its own radius ({_span(eps)})") + where
    return (texts[norm].format(f"{eps:.6g}") + where).replace("at most 1 pixels", "at most 1 pixel")


def _said(threat: Any) -> str:
    """A short name for a threat that cannot be typed: it must not read as another one."""
    if hasattr(threat, "parts"):
        return " | ".join(spec_of(part) or _said(part) for part in threat.parts)
    norm, eps = getattr(threat, "norm", ""), getattr(threat, "eps", None)
    if not norm or eps is None or hasattr(threat, "spec"):
        return repr(threat)
    radius = radius_text(eps) if isinstance(eps, float) else _span(eps)
    return f"{norm}:{radius}" + (" (masked)" if getattr(threat, "mask", None) is not None else "")


def _span(eps: torch.Tensor) -> str:
    if not len(eps):
        return "none"
    low, high = f"{float(eps.min()):.6g}", f"{float(eps.max()):.6g}"
    return f"{low} to {high}" if low != high else f"{low} each"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    flags = {flag for line in lines if line.startswith("flags") for flag in line.split(":", 1)[1].split()}
    fast = [flag for flag in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if flag in flags]
    return f"{named[0] if named else platform.processor()} ({', '.join(fast) or 'no vector flags known'})"


def said(manifest: dict[str, Any], name: str) -> str:
    """What a manifest calls that of which it keeps a fingerprint, in brackets behind a blank; "" where it says nothing."""
    found = manifest.get(name)
    words = (found.get("spec") or found.get("name")) if isinstance(found, dict) else None
    return f" ({words})" if isinstance(words, str) and words else ""
