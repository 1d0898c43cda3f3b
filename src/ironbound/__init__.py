"""Ironbound."""
