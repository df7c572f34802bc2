"""What gunicorn is told (`gunicorn --config python:webapp.server wsgi:app`)."""

import sys

from webapp.config import InvalidSettings, Settings
from webapp.core import create_core
from webapp.db import db
from webapp.launch import refuse_one_time_passwords

try:
    _settings = Settings.from_environment()
except InvalidSettings as error:
    sys.exit(str(error))

_host = f"[{_settings.host}]" if ":" in _settings.host else _settings.host
bind = f"{_host}:{_settings.port}"
workers = _settings.web_processes
worker_class = "gthread"
threads = _settings.web_threads
timeout = 120  # a slow line may take its time over 20 images
graceful_timeout = 4  # honcho kills after five seconds
keepalive = 75  # longer than pages pause between polls: one that ends just then loses a request
loglevel = _settings.log_level.lower()
accesslog = "-" if _settings.debug else None
# The path without its query: a search names patients, and logs are read by others.
access_log_format = '%(h)s "%(m)s %(U)s" %(s)s %(B)s %(M)sms'
reload = _settings.debug
preload_app = not reload  # loaded once for all processes, which share the memory too
control_socket_disable = True  # it would lie in the home folder, one for all instances


def on_starting(_server: object) -> None:
    """Refuse to serve others while somebody holds a password that was handed out."""
    if _settings.production:
        with create_core(_settings).app_context():
            refuse_one_time_passwords()
            db.engine.dispose()  # its connections must not reach the forked processes
