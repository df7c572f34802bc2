"""What the web server loads, and what the `flask` command finds."""

from webapp.app import create_app

app = create_app()
