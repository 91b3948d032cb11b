"""What a person reads when a store is not there; and that a password is never among it."""

from __future__ import annotations

import pytest

from tests.dags.conftest import load_dags


def check(name: str) -> None:
    load_dags("process").dags["00_smoke_test_stack"].get_task(name).python_callable()


def test_minio_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(
        Exception, match=r"MinIO is not ready at http://127.0.0.1:1/minio/health/ready .*AWS_ENDPOINT_URL"
    ):
        check("check_minio")


def test_redis_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://:s3cr3t@127.0.0.1:1/0")
    with pytest.raises(Exception, match=r"Redis does not answer at 127.0.0.1:1 \(ConnectionError\)") as caught:
        check("check_redis")
    assert "s3cr3t" not in repr(caught.value)
    assert caught.value.__suppress_context__, "the client's own error must not follow in the log"
