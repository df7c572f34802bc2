"""Readers of the publishers' layouts. Each one yields the same kind of manifest."""
