"""Every job declares its limits."""

import webapp.worker.jobs  # noqa: F401  # declares them
from webapp.queue import app


def test_every_job_has_limits_and_is_acknowledged_late() -> None:
    jobs = {name: job for name, job in app.tasks.items() if not name.startswith("celery.")}
    assert jobs
    for name, job in jobs.items():
        assert job.soft_time_limit, name
        assert job.time_limit, name
        assert job.time_limit > job.soft_time_limit, name
        assert job.acks_late, name
