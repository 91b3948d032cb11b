"""Where Spark runs, and what is said to it beyond the jobs' own settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.common.errors import WrongCall
from jobs.common.lake import Lake
from jobs.common.settings import Settings, load_settings


def test_further_settings_are_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARK_CONF", "spark.executor.memory=1g\n\n  spark.driver.extraJavaOptions=-Da=b -Dc=d\n")
    assert load_settings().spark_settings == {
        "spark.executor.memory": "1g",
        "spark.driver.extraJavaOptions": "-Da=b -Dc=d",
    }


@pytest.mark.parametrize("wrong", ["spark.executor.memory 1g", "executor.memory=1g", "=1g"])
def test_wrong_lines_are_refused_by_name(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv("SPARK_CONF", wrong)
    with pytest.raises(WrongCall, match=r"SPARK_CONF must be lines such as spark\.executor\.memory=1g\."):
        load_settings()


def test_executors_elsewhere_do_not_share_a_folder(tmp_path: Path) -> None:
    from jobs.common.spark import spark_session

    settings = Settings(spark_master="k8s://https://kubernetes.default.svc:443")
    lake = Lake.open(tmp_path.as_uri(), settings)
    with pytest.raises(WrongCall, match="do not share a folder of this machine"), spark_session(settings, lake, "x"):
        pass
