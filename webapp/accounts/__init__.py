"""Users, their roles and sites, and the sessions in which they act."""
