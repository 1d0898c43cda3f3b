"""All benchmarks: `python benchmarks/run.py`, or some of them: `python benchmarks/run.py ask --rounds 15`.

Prints tables, and writes the numbers with the facts of the machine as JSON. Clocks are CPU seconds of this process,
medians over alternated rounds: on a busy machine only their ratios mean something.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: waiting threads shall not count as work

import aa
import ask
import audits
import cascade
import certification
import collective
import costs
import harden
import helped
import minimum
import pgd
import torch
import training
from cases import Chosen
from timing import machine

SECTIONS = {
    "pgd": pgd.run, "ask": ask.run, "autoattack": aa.run, "audit": audits.run, "minimum": minimum.run,
    "collective": collective.run, "training": training.run, "harden": harden.run, "helped": helped.run,
    "certification": certification.run, "costs": costs.run,
    "cascade": cascade.run,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Ironbound's benchmarks")
    parser.add_argument("sections", nargs="*", help=f"some of {', '.join(SECTIONS)}; the first two by default")
    parser.add_argument("--rounds", type=int, default=7, help="alternations, of which the median is taken")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--mnist-weights", type=Path, help="safetensors of a trained ironbound.models.zoo.mnist_cnn")
    parser.add_argument("--images", type=int, default=200, help="of MNIST's test set, with --mnist-weights")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--seeds", type=int, default=1, help="runs of autoattack, with the seeds 0, 1, ...")
    parser.add_argument("--plan", default="standard", help="of the audit: a name, or the path of a plan")
    parser.add_argument(
        "--shown",
        action="store_true",
        help="audit, minimum, harden, helped: show the results that are kept, run nothing",
    )
    parser.add_argument(
        "--page",
        type=Path,
        help="audit, minimum, collective, training, harden, helped, certification, costs: a page to write the tables into",
    )
    parser.add_argument("--json", type=Path, default=Path("benchmarks.json"), help="where the numbers are written")
    given = parser.parse_args()
    unknown = set(given.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"no section is called {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    torch.set_num_threads(given.threads)
    facts = machine()
    print("\n".join(f"{name}: {value}" for name, value in facts.items()))
    chosen = Chosen(
        given.rounds, given.mnist_weights, given.images, given.only, given.seeds, given.plan, given.shown, given.page
    )
    numbers = {name: SECTIONS[name](chosen) for name in given.sections or ("pgd", "ask")}
    given.json.write_text(json.dumps({"machine": facts, "rounds": given.rounds, **numbers}, indent=1))
    print(f"\nwritten: {given.json}")


if __name__ == "__main__":
    main()
