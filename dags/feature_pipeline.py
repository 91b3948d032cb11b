"""
### Feature pipeline

`generate → bronze → features → materialize → verify`

Every night at 02:00 UTC, or when `FTI_SCHEDULE` says, it works on the day that has just ended: new transactions land,
are checked, become features, go to the online store, and are read back from there. A value that differs online fails
the run.

**A range of days**: trigger it with `start` and `end` (half-open: `end` is the day after the last). One process
works through all of them. **Your own transactions**: switch `generate` off (for good: `FTI_GENERATE=false`) and let your exporter write to
`landing/` (see the landing contract in the reference).

Each job can be run again at any time: unchanged input is a quick no-op, changed input overwrites its partitions, and
with `force` the work is done anyway.
Exit codes 2 (wrong call or settings) and 3 (more bad data than allowed) are not retried.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, Asset, CronPartitionTimetable, Param, chain
from launchers.day_range import day_range
from launchers.settings import LauncherSettings
from launchers.tasks import job_task, skip_unless

SETTINGS = LauncherSettings.from_env(os.environ)
START = "{{ days(params, partition_key, dag_run.run_after).start }}"
END = "{{ days(params, partition_key, dag_run.run_after).end }}"
DAYS = ["--start", START, "--end", END]
WORK = [*DAYS, "{{ '--force' if params.force else '' }}"]

with DAG(
    "feature_pipeline",
    description="Landing to online store, one day or a range, verified at the end.",
    doc_md=__doc__,
    tags=["fti", "features"],
    schedule=None
    if SETTINGS.schedule == "none"
    else CronPartitionTimetable(SETTINGS.schedule, timezone="UTC", run_offset=-1, key_format="%Y-%m-%d"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    max_active_tasks=1,
    default_args={
        "owner": "fti",
        "retry_delay": timedelta(minutes=1),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=15),
        "max_active_tis_per_dag": 1,  # backfills too: no two runs write one partition at once
    },
    user_defined_macros={"days": day_range},
    params={
        "start": Param(None, type=["null", "string"], format="date", description="First day; empty: the run's own."),
        "end": Param(None, type=["null", "string"], format="date", description="The day after the last."),
        "generate": Param(SETTINGS.generate, type="boolean", description="Off when a real exporter feeds landing/."),
        "cards": Param(5000, type="integer", minimum=1, description="Synthetic cards."),
        "seed": Param(7, type="integer", minimum=0, description="The same seed gives the same transactions."),
        "format": Param("jsonl.gz", enum=["jsonl", "jsonl.gz", "csv", "csv.gz"], description="Form of landing files."),
        "snapshot": Param(
            None,
            type=["null", "string"],
            format="date",
            description="This day's landing also holds the full card and merchant tables: the first day of a fresh lake.",
        ),
        "force": Param(False, type="boolean", description="Work even where nothing changed since the last run."),
        "max_bad_share": Param(
            0.01, type="number", minimum=0, maximum=1, description="Share of bad lines above which bronze refuses."
        ),
    },
):
    chain(
        job_task(
            "generate",
            [
                *WORK,
                "--cards={{ params.cards }}",
                "--seed={{ params.seed }}",
                "--format={{ params.format }}",
                "{{ '--snapshot=' ~ params.snapshot if params.snapshot else '' }}",
            ],
            outlets=[Asset("landing")],
            pre_execute=skip_unless("generate"),
        ),
        job_task(
            "bronze",
            [*WORK, "--max-bad-share={{ params.max_bad_share }}"],
            outlets=[Asset("bronze")],
            trigger_rule="none_failed",  # a skipped generate is no obstacle
        ),
        job_task("features", WORK, outlets=[Asset("silver_features")]),
        job_task("materialize", WORK, outlets=[Asset("online_features")]),
        job_task("verify", DAYS),
    )
