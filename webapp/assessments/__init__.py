"""The work itself: one model version reading one case, as a row that cannot be lost."""
