"""An attack is five parts: set x goal x objective x oracle x search. Take a recipe and exchange some.

Run it: python examples/compose_an_attack.py
"""

import ironbound as ib
from ironbound.data import load
from ironbound.defenses.train import train, training_named
from ironbound.models.zoo import digits_cnn

test, threat = load("digits:test", samples=100), ib.Linf(0.1)
model = train(ib.Model(digits_cnn()), load("digits:train"), None, training_named("standard", epochs=2)).model

pgd = ib.recipes.pgd(steps=20)  # cross-entropy, from a random start
margin = pgd.replace(objective=ib.Margin())  # the same search, another objective
adaptive = ib.Attack(
    set=threat,
    goal=ib.Untargeted(),
    objective=ib.Margin(),
    search=ib.Ascent(steps=20, move=ib.Apgd(), start=ib.Clean()),  # steps that adapt, from the clean input
    oracle=ib.Direct(),
    restarts=2,
)

for name, attack in {"pgd": pgd, "margin": margin, "adaptive": adaptive}.items():
    found = ib.attack(model, test.x, test.y, threat=threat, method=attack)
    rows = int(found.forward.sum() + found.backward.sum())
    print(f"{name}: {int(found.success.sum())} of {len(test)} fooled under {threat}, {rows:,} model rows")

to_three = ib.attack(model, test.x, test.y, threat=threat, method=margin, target=3)  # targeted: another goal, no flag
print(f"targeted: {int(to_three.success.sum())} of {len(test)} are read as a 3")
