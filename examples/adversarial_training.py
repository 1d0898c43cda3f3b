"""Real adversarial training, on what an attack finds: the tutorial's network, audited before and after.

Run it: python examples/adversarial_training.py [mnist/train.parquet mnist/test.parquet]
"""

import sys

import ironbound as ib
from ironbound.data import load
from ironbound.models.zoo import digits_cnn, mnist_cnn

net, eps = (mnist_cnn(), 0.3) if sys.argv[1:] else (digits_cnn(), 0.2)
train, test = (load(file) for file in sys.argv[1:] or ["digits:train", "digits:test"])

robust = ib.harden(
    net, train, threat=ib.Linf(eps), method="pgd", test=test, samples=100, audit="quick", epochs=6, rate=0.01, rise=3
)
for epoch in robust.history:
    print(f"epoch {epoch['epoch']}: radius {epoch['eps']:.2f}, loss {epoch['loss']:.2f}")
print("before:", robust.before)
print("after: ", robust.after)
