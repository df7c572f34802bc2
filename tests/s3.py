"""A server that speaks the API of S3, in a process of its own, with an empty bucket."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import fsspec
import pytest
import requests

from tests.stack import free_port, wait_until

BUCKET = "firstlook"
START_SECONDS = 60


@contextmanager
def server() -> Iterator[Mapping[str, str]]:
    """Gives the environment by which it is found."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: _has_bucket(url), "the start of the S3 server", START_SECONDS)
        yield {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
    finally:
        process.kill()
        process.wait()


def _has_bucket(url: str) -> bool:
    try:
        return requests.put(f"{url}/{BUCKET}", timeout=10).ok
    except requests.ConnectionError:
        return False


@contextmanager
def reached(environment: Mapping[str, str]) -> Iterator[None]:
    """Has this process find what an environment names. A client reads it once, and is forgotten."""
    forget = fsspec.get_filesystem_class("s3").clear_instance_cache
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        forget()
        yield
    forget()
