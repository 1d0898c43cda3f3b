"""Searches: where to look next. Each is a generator that reads like its paper."""
