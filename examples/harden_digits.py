"""Make a network more robust, and measure what that brings and costs: the bracket before and after.

Run it: python examples/harden_digits.py
"""

import ironbound as ib
from ironbound.data import load
from ironbound.defenses.train import train, training_named
from ironbound.models.zoo import digits_cnn

data, threat = load("digits:train"), ib.Linf(0.1)
plain = train(ib.Model(digits_cnn()), data, None, training_named("standard", epochs=3)).model

robust = ib.harden(
    plain,
    data,
    threat=threat,
    method="pgd",  # adversarial training; "ibp" trains for certificates
    test=load("digits:test"),
    samples=100,
    audit="quick",
    epochs=3,
    steps=4,
    batch=128,
)
print("before:", robust.before)
print("after: ", robust.after)
last = robust.history[-1]
print(f"epoch {last['epoch']}: loss {last['loss']:.3f}, trained in {sum(e['seconds'] for e in robust.history):.1f} s")
# robust.model is a trained copy; plain is as it was.
