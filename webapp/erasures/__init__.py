"""Erasing a patient: what names or shows them goes, what counts them stays."""
