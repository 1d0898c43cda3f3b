"""Harden a network in two ways and put them beside the plain one: what each gains and costs, and which are worth a look.

Prints the bracket after each training, then a line a model: accuracies, seconds of training, whether another one is better in
all of these. Run it: python examples/harden_and_compare.py
"""

import tempfile
from pathlib import Path

from torch import nn

import ironbound as ib
from ironbound.data import load
from ironbound.defenses.train import train, training_named

digits, test = load("digits:train"), load("digits:test", samples=24)
net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
plain = train(ib.Model(net), digits, None, training_named("standard", epochs=4, rate=5e-3)).model

runs = Path(tempfile.mkdtemp())
for method in ("pgd", "ibp"):  # adversarial training; training for certificates
    settings = {"epochs": 4, "rate": 5e-3, "audit": "quick"}
    robust = ib.harden(plain, digits, threat="linf:0.05", method=method, test=test, out=runs / method, **settings)
    print(f"{method}: {robust.after}")
for one in ib.compare([runs]).facts["scopes"][0]["models"]:
    shares = ", ".join(f"{name} {one[name]['fraction']:.0%}" for name in ("clean", "attacked", "certified"))
    print(f"{one['name']}: {shares}, {one['checks']['state']}; {one['seconds']:.0f} s; on the front: {one['front']}")
