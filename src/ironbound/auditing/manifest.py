"""The manifest of a run: everything that its results depend on, as fingerprints and as words."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import ironbound
from ironbound.auditing.plan import Plan
from ironbound.core.describe import fingerprint, source_digest, state_digest
from ironbound.core.predict import predict
from ironbound.core.protocols import PerturbationSet
from ironbound.core.rng import Rng, content_digests, content_keys
from ironbound.data.dataset import Data
from ironbound.models.model import Model

SCHEMA = 1
PROBES = 4
NAMES = {
    "model": "the model (weights, class source, range, preprocessing or outputs)",
    "data": "the data set (its rows, labels or further columns)",
    "threat": "the threat",
    "plan": "the plan (stages, attacks or their settings)",
    "seed": "the seed",
    "code": "Ironbound itself (its version or source)",
}


def manifest_of(
    model: Model, data: Data, threat: PerturbationSet, plan: Plan, seed: int, pool: int, origin: dict[str, Any]
) -> dict[str, Any]:
    """The manifest of a run that is about to begin. `origin` says how to load model and data again, where that is known."""
    return {
        "schema": SCHEMA,
        "ironbound": ironbound.__version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": {
            "name": model.name, "outputs": model.outputs, "range": None if model.box is None else list(model.box),
            "parameters": sum(p.numel() for p in model.net.parameters()), "random": model.random, "classes": model.classes,
            "dtype": str(model.dtype), "device": str(model.device), "training_mode": model.net.training,
        },
        "data": {
            "name": data.name, "rows": len(data), "classes": list(data.classes or ()), "columns": sorted(data.columns),
            "shape": list(data.x.shape[1:]) if isinstance(data.x, torch.Tensor) else None,
        },
        "threat": threat_facts(threat, model.box),
        "plan": {"name": plan.name, "stages": ["clean", *(stage.name for stage in plan.stages)]},
        "kinds": {"clean": "clean", **{stage.name: stage.kind for stage in plan.stages}},
        "seed": seed,
        "pool": pool,
        "origin": origin,
        "fingerprints": fingerprints(model, data, threat, plan, seed),
        "probes": probe_logits(model, data),
        "environment": environment(),
    }  # fmt: skip


def fingerprints(model: Model, data: Data, threat: PerturbationSet, plan: Plan, seed: int) -> dict[str, str]:
    """What must be equal for two runs to have the same verdicts."""
    return {
        "model": model_fingerprint(model),
        "data": data_fingerprint(data),
        "threat": fingerprint(threat),
        "plan": fingerprint(plan),
        "seed": str(seed),
        "code": code_digest(),
    }


def model_fingerprint(model: Model) -> str:
    """Weights by value, code by source, range, preprocessing and kind of output."""
    sources = sorted({f"{type(part).__qualname__}:{source_digest(type(part))}" for part in model.net.modules()})
    facts = [state_digest(model.module), model.outputs, list(model.box or ()), str(model.dtype), model.random, sources]
    return fingerprint(facts)


def data_fingerprint(data: Data) -> str:
    """All rows, labels, row numbers and further columns."""
    digest = hashlib.blake2b(digest_size=8)
    for row in content_digests(data.x, data.y):
        digest.update(row)
    digest.update(data.index.numpy().tobytes())
    digest.update(repr(sorted(data.columns.items())).encode())
    return digest.hexdigest()


def probe_rows(data: Data) -> torch.Tensor:
    """The places of the few samples with the smallest key: the same ones on every machine."""
    return content_keys(data.x, data.y).argsort(stable=True)[:PROBES]


def probe_logits(model: Model, data: Data) -> list[list[float]]:
    """What the model answers to the probes; a changed model is noticed by them even where its state says nothing."""
    few = data.take(probe_rows(data))
    x, y = model.admit(few.x, few.y)
    out = predict(model, x, Rng.of(0, content_keys(x, y).to(model.device)))
    return [[float(v) for v in row.flatten()] for row in out.double().cpu()]


@cache
def code_digest() -> str:
    """The source of Ironbound."""
    digest = hashlib.blake2b(ironbound.__version__.encode(), digest_size=8)
    root = Path(ironbound.__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
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
    """The threat in words and numbers."""
    norm, eps = getattr(threat, "norm", type(threat).__name__), float(getattr(threat, "eps", float("nan")))
    within = "" if box is None else f", within [{box[0]:g}, {box[1]:g}]"
    texts = {
        "linf": f"each input value may change by at most {eps:.6g}{within}",
        "l2": f"an input may change by at most {eps:.6g} in Euclidean distance{within}",
    }
    return {"spec": f"{norm}:{eps:.6g}", "norm": norm, "radius": eps, "text": texts.get(norm, repr(threat))}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    flags = {flag for line in lines if line.startswith("flags") for flag in line.split(":", 1)[1].split()}
    fast = [flag for flag in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if flag in flags]
    return f"{named[0] if named else platform.processor()} ({', '.join(fast) or 'no vector flags known'})"
