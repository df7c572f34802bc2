"""The one room that knows both the database and the models."""
