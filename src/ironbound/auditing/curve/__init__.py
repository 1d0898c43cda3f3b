"""Robust accuracy against radius, from one run: `draw` finds it, `parts` keeps it, `recheck` looks at it again.

Of each sample an interval: the largest radius known to be certified, and the smallest known to break it. At a radius the
certified share is of samples with the former no smaller, the attacked share of those with the latter larger: both fall with
the radius because each sample does, and at the threat's own radius they are the bracket.
"""
