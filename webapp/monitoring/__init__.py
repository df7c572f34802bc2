"""How the installation does: what waits, which workers live, how answers fare, what drifts."""
