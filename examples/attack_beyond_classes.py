"""Attacks where the answer is no class: identities, maps, boxes. The goal changes, everything else stays.

Run it: python examples/attack_beyond_classes.py
"""

import torch

import ironbound as ib
from ironbound import goals
from ironbound.data import load
from ironbound.data.composites import composites
from ironbound.models import tasks

pgd, pictures = ib.recipes.pgd(steps=15), composites(10, seed=1, split="test")

faces, digits = tasks.trained_embedder(epochs=3), load("digits:test", samples=40)
with torch.no_grad():
    gallery = torch.stack([faces(digits.x[digits.y == k]).mean(0) for k in range(10)])
other = (digits.y + 1) % 10  # who to pass for
impersonate = pgd.replace(goal=goals.Impersonate(0.5, gallery))
found = ib.attack(ib.Model(faces, outputs="anything"), digits.x, other, threat="linf:0.2", method=impersonate)
print(f"embeddings: {int(found.success.sum())} of {len(digits)} pass for somebody else")

segmenter = ib.Model(tasks.trained_segmenter(epochs=2, pictures=200), outputs="anything")
ink = torch.where(pictures.maps > 0, pictures.maps, -1)  # the background does not count
wrong = pgd.replace(goal=goals.Pixels(0.9), objective=ib.Hinged())
found = ib.attack(segmenter, pictures.x, ink, threat="linf:0.1", method=wrong)
print(f"maps: {int(found.success.sum())} of {len(pictures)} have nine tenths of their ink wrong")

detector = ib.Model(tasks.trained_detector(epochs=4, pictures=300), outputs="anything")
hide = pgd.replace(goal=goals.Hide(threshold=0.5, iou=0.5), objective=ib.Hinged())
found = ib.attack(detector, pictures.x, pictures.boxes, threat="linf:0.2", method=hide)
print(f"boxes: in {int(found.success.sum())} of {len(pictures)} both digits are hidden")
