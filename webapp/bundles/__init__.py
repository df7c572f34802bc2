"""Models from outside: bundles that administrators send to be installed."""
