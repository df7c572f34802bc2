"""The web face."""

from typing import Any

from flask import Flask
from werkzeug.routing import IntegerConverter, Map

from webapp import rendering, security
from webapp.config import Settings
from webapp.core import create_core
from webapp.db import MAX_ID


class RowNumber(IntegerConverter):
    """The number of a row in a path; one that no row can have leads nowhere."""

    def __init__(self, url_map: Map, *args: Any, **options: Any) -> None:
        super().__init__(url_map, *args, **{"max": MAX_ID, **options})


def create_app(settings: Settings | None = None) -> Flask:
    """Build the web application: the core, sign-in, security, pages and error pages."""
    from webapp.accounts.views import blueprint as accounts_pages
    from webapp.api.views import blueprint as api
    from webapp.bundles.cli import bundle
    from webapp.bundles.views import blueprint as bundles_pages
    from webapp.datasets.cli import dataset_commands, snapshot_commands
    from webapp.datasets.views import blueprint as datasets_pages
    from webapp.erasures.cli import patients
    from webapp.erasures.views import blueprint as erasures_pages
    from webapp.explanations.views import blueprint as explanations_pages
    from webapp.exports.views import blueprint as exports_pages
    from webapp.guidance.views import blueprint as guidance_pages
    from webapp.history.views import blueprint as history_pages
    from webapp.imports.views import blueprint as imports_pages
    from webapp.monitoring.views import blueprint as monitoring_pages
    from webapp.promotion.cli import model
    from webapp.promotion.views import blueprint as promotion_pages
    from webapp.registry.views import blueprint as registry_pages
    from webapp.reproductions.views import blueprint as reproductions_pages
    from webapp.rereadings.views import blueprint as rereadings_pages
    from webapp.reviews.views import blueprint as reviews_pages
    from webapp.training.cli import training
    from webapp.training.views import blueprint as training_pages
    from webapp.triage.cli import demo
    from webapp.triage.views import blueprint as triage_pages

    app = create_core(settings)
    app.url_map.converters["int"] = RowNumber
    app.config["TEMPLATES_AUTO_RELOAD"] = app.config["FIRSTLOOK"].debug
    security.init_app(app)
    rendering.init_app(app)
    for blueprint in (
        accounts_pages,
        api,
        bundles_pages,
        datasets_pages,
        erasures_pages,
        explanations_pages,
        exports_pages,
        guidance_pages,
        history_pages,
        imports_pages,
        monitoring_pages,
        promotion_pages,
        registry_pages,
        rereadings_pages,
        reproductions_pages,
        reviews_pages,
        training_pages,
        triage_pages,
    ):
        app.register_blueprint(blueprint)
    for commands in (
        bundle,
        dataset_commands,
        demo,
        model,
        patients,
        snapshot_commands,
        training,
    ):
        app.cli.add_command(commands)
    security.csrf.exempt(api)  # no cookie signs anyone in there, so no other site can act with one
    return app
