"""``helm test``: the stores answer, the smoke test's DAG and a day of the pipeline run, a card is read back."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.e2e.kind_cluster.pipeline import JOBS
from tests.e2e.kind_cluster.platform import JOBS as NAMESPACE
from tests.e2e.kind_cluster.platform import Platform


@pytest.fixture(scope="module")
def said(platform: Platform, up: dict[str, Any], report: list[str]) -> str:
    began = time.monotonic()
    text = platform.helm("test", "fti", "--timeout", "20m", "--logs", check=False)
    took = time.monotonic() - began
    report.append(f"helm test: {took:.0f} s; from no cluster to the first card read back: {up['total'] + took:.0f} s")
    return text


def test_every_part_passed(said: str) -> None:
    suites = said.count("TEST SUITE:")
    assert suites == 5, said
    assert said.count("Phase:          Succeeded") == suites, said


def test_the_smoke_test_ran(said: str) -> None:
    assert "00_smoke_test_stack: success" in said


def test_a_day_went_through_all_jobs(said: str) -> None:
    assert all(f"{job:<12} success" in said for job in JOBS), said
    assert "feature_pipeline: success" in said


def test_a_card_was_read_back(said: str, platform: Platform) -> None:
    log = platform.kubectl("logs", "-n", NAMESPACE, "job/fti-test-card")
    assert "cnt_30d" in log
    assert "PRESENT" in log
