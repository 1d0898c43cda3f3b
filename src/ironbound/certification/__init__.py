"""Bounds and certificates: what holds at every point of a set. Read graph.py, interval.py, certificates.py."""
