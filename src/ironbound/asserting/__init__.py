"""Robustness as an assertion: a sequential test that takes few samples, and the pytest plugin around it.

pytest imports `ironbound.asserting.plugin` in every session, so nothing is imported here.
"""
