"""Words that others chose, made harmless for a terminal."""

from __future__ import annotations

from ironbound.core.text import shown as shown
