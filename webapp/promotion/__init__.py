"""What a model has to show before it may serve, who lets it, and how it is taken back."""
