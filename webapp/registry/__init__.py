"""Model versions, and which of them serves each reading task."""
