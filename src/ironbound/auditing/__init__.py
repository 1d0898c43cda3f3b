"""Auditing: plan, run folder, checks, report, verification."""
