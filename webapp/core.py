"""The application without its web face: what workers, the command line and migrations use."""

import logging

from flask import Flask

from webapp import audit, queue, storage
from webapp.config import REPOSITORY, Settings
from webapp.db import configure_engine, db, migrate


def create_core(settings: Settings | None = None) -> Flask:
    """Build the application: configuration, database, storage and queue.

    Raises:
        InvalidSettings: naming every variable of the environment that cannot be used.
    """
    settings = settings or Settings.from_environment()
    settings.make_instance_dir()
    logging.basicConfig(
        level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    app = Flask(
        "webapp",
        root_path=str(REPOSITORY / "webapp"),
        instance_path=str(settings.instance_dir),
        template_folder=str(REPOSITORY / "templates"),
        static_folder=str(REPOSITORY / "static"),
    )
    app.config["FIRSTLOOK"] = settings
    app.config["SQLALCHEMY_DATABASE_URI"] = settings.sqlalchemy_url
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {
        "pool_pre_ping": True,
        "hide_parameters": True,  # error texts go to logs, and parameters hold patients' data
    }
    db.init_app(app)
    migrate.init_app(app, db, directory=str(REPOSITORY / "migrations"))
    with app.app_context():
        configure_engine(db.engine)
    storage.init_app(app)
    audit.init_app(app)
    queue.init_app(app)
    _load_models()
    _add_commands(app)
    return app


def _add_commands(app: Flask) -> None:
    from webapp import cli

    cli.init_app(app)


def _load_models() -> None:
    """Import every table, so that relationships and migrations find them."""
    import webapp.accounts.models
    import webapp.assessments.models
    import webapp.bundles.models
    import webapp.cases.models
    import webapp.catalogue.models
    import webapp.datasets.models
    import webapp.erasures.models
    import webapp.explanations.models
    import webapp.imports.models
    import webapp.monitoring.models
    import webapp.promotion.models
    import webapp.registry.models
    import webapp.reproductions.models
    import webapp.reviews.models
    import webapp.training.models
    import webapp.triage.models  # noqa: F401  (for what importing declares)
