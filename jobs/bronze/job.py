"""The bronze job: which days have something new, one Spark session for all of them, then publication day by day."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import click
import pyarrow as pa
import pyarrow.compute as pc

from jobs.bronze.landing import LandedFile, Landing, Scan, in_threads, read_landings, scan
from jobs.bronze.parse import Source
from jobs.common.cli import JobContext, job_command
from jobs.common.contract import DATASETS, FORMATS, QUARANTINE, TRANSACTIONS, LandingDataset
from jobs.common.digest import Digest, table_digest
from jobs.common.errors import BadData, JobError, WrongCall
from jobs.common.lake import Lake, Manifest, Staged, ingest_partition
from jobs.common.staged import parquet_batches, parquet_digest, staged_parquet
from jobs.common.version import code_version

if TYPE_CHECKING:
    from jobs.bronze.stage import Tally

JOB = "bronze"
ROWS_PER_FILE = 1_000_000
TASKS_AT_LEAST, SMALLEST_TASK = 8, 256 << 10
ROWS_PER_SHUFFLE, FEW_LINES = 500_000, 50_000
BYTES_PER_TASK = 32 << 20
TOP_REASONS = 3


@click.option(
    "--max-bad-share",
    type=click.FloatRange(0, 1),
    default=0.01,
    show_default=True,
    help="Share of bad lines of one dataset and day above which nothing is published.",
)
def run(context: JobContext, max_bad_share: float) -> Mapping[str, Any]:
    """Reads landing files, checks every line and writes bronze Parquet; bad lines go to quarantine with a reason."""
    lake = context.lake
    landings = read_landings(lake, context.days)
    _require_transactions(landings)
    stale = [landing for landing in landings if context.force or not _is_published(lake, landing)]
    if len(stale) < len(landings):
        context.log.info("unchanged", days=len(landings) - len(stale))
    if stale:
        _ingest(context, stale, max_bad_share)
    return _totals(lake, landings) | {"days": len(landings), "unchanged_days": len(landings) - len(stale)}


command = job_command(JOB)(run)


# -- what is there -------------------------------------------------------------------------------------------


def _require_transactions(landings: Sequence[Landing]) -> None:
    missing = [landing.day for landing in landings if TRANSACTIONS.name not in landing.files]
    if missing:
        partition = f"{TRANSACTIONS.landing}/{ingest_partition(missing[0])}"
        more = f" (and of {len(missing) - 1} more days)" if len(missing) > 1 else ""
        raise WrongCall(
            f"Missing partition {partition}{more}: put files there that end in {', '.join(FORMATS)}, "
            "or run the generate job for that day."
        )


def _is_published(lake: Lake, landing: Landing) -> bool:
    """Whether bronze already holds just what these files and this code make."""

    def matches(dataset: str, inputs: str | None) -> bool:
        manifest = lake.manifest(dataset, ingest_partition(landing.day))
        if manifest is None or inputs is None:
            return manifest is None and inputs is None
        return (manifest.inputs, manifest.code_version) == (inputs, _code())

    return matches(QUARANTINE, landing.all_inputs) and all(
        matches(d.bronze, landing.inputs(d.name) if d.name in landing.files else None) for d in DATASETS
    )


def _code() -> str:
    return code_version(JOB, "common")


# -- the work ------------------------------------------------------------------------------------------------


@dataclass
class _Part:
    """One dataset's share of one day, from scan to publication."""

    dataset: LandingDataset
    day: date
    files: Sequence[LandedFile]
    scans: Sequence[Scan]

    @property
    def lines(self) -> int:
        return sum(s.lines for s in self.scans)

    @property
    def set_aside(self) -> int:
        return sum(s.problem is not None for s in self.scans)

    @property
    def sources(self) -> list[Source]:
        parts = max(1, -(-self.lines // ROWS_PER_FILE))
        return [Source(self.day, f.path, f.name, parts, s.problem) for f, s in zip(self.files, self.scans, strict=True)]


def _ingest(context: JobContext, landings: Sequence[Landing], max_bad_share: float) -> None:
    """Makes the bronze partitions of the days and publishes them, all or (when data is too bad) none."""
    from jobs.bronze import stage
    from jobs.common.spark import spark_session

    began = time.perf_counter()
    lake, settings, log = context.lake, context.settings, context.log
    parts = {dataset.name: _scan(lake, dataset, landings, log) for dataset in DATASETS}
    _check_readable(part for dataset_parts in parts.values() for part in dataset_parts)
    present = [dataset for dataset in DATASETS if parts[dataset.name]]
    rows = sum(part.lines for dataset_parts in parts.values() for part in dataset_parts)
    with lake.staging() as staging, spark_session(settings, lake, JOB, rows=rows, conf=stage.SPARK_CONF) as spark:
        checked = []
        tallies: dict[str, dict[date, Tally]] = {}
        for dataset in present:
            frame = stage.check_lines(spark, lake, settings, dataset, _tasks(parts[dataset.name]))
            checked.append((dataset, frame))
            tallies[dataset.name] = {part.day: stage.Tally() for part in parts[dataset.name]}
            tallies[dataset.name] |= stage.tally_lines(frame)
            _check_lines(parts[dataset.name], tallies[dataset.name])
            log.info("checked", dataset=dataset.name, lines=sum(part.lines for part in parts[dataset.name]))
        _check_share(parts, tallies, max_bad_share)
        duplicates = {}
        for dataset, frame in checked:
            lines = sum(part.lines for part in parts[dataset.name])
            shuffles = max(-(-lines // ROWS_PER_SHUFFLE), 2 if lines > FEW_LINES else 1)
            url = lake.spark_url(f"{staging}/{dataset.name}")
            duplicates[dataset.name] = stage.write_valid(frame, dataset, url, shuffles)
            log.info("staged", dataset=dataset.name, duplicates=duplicates[dataset.name])
        with_bad = [(d, f) for d, f in checked if _has_bad(parts[d.name], tallies[d.name])]
        if with_bad:
            stage.write_quarantine(with_bad, lake.spark_url(f"{staging}/quarantine"))

        made = []
        for dataset in present:
            manifests = [
                _manifest(lake, staging, part, landing, tallies[dataset.name][landing.day], began)
                for landing in landings
                for part in parts[dataset.name]
                if part.day == landing.day
            ]
            found = sum(manifest.counts["duplicates"] for manifest, _ in manifests)
            if found != duplicates[dataset.name] or any(m.counts["duplicates"] < 0 for m, _ in manifests):
                raise JobError(
                    f"{dataset.name}: {found} lines are missing from the staged files, but {duplicates[dataset.name]} "
                    "are duplicates. This is a bug; nothing was published."
                )
            made += manifests
        made += [_quarantine_manifest(lake, staging, landing, parts, tallies, began) for landing in landings]
        _publish(lake, landings, made)


def _scan(lake: Lake, dataset: LandingDataset, landings: Iterable[Landing], log: Any) -> list[_Part]:
    parts = []
    for landing in landings:
        files = landing.files.get(dataset.name)
        if files:
            scans = in_threads(lambda file: scan(lake, dataset, file), files)
            parts.append(_Part(dataset, landing.day, files, scans))
            for file, scanned in zip(files, scans, strict=True):
                if scanned.problem:
                    log.warning("file set aside", path=file.path, reason=scanned.problem)
    return parts


def _tasks(parts: Iterable[_Part]) -> list[list[Source]]:
    """Groups files in their order into tasks: enough of them for all cores, few where files are small."""
    total = sum(file.size for part in parts for file in part.files)
    limit = min(BYTES_PER_TASK, max(total // TASKS_AT_LEAST, SMALLEST_TASK))
    tasks: list[list[Source]] = []
    room = 0
    for part in parts:
        for source, file in zip(part.sources, part.files, strict=True):
            if not tasks or file.size > room:
                tasks.append([])
                room = limit
            tasks[-1].append(source)
            room -= file.size
    return tasks


# -- what must hold before anything is published -------------------------------------------------------------


def _check_readable(parts: Iterable[_Part]) -> None:
    """Nothing readable is no empty day: it must not replace a partition that was made of good files.

    Raises:
        BadData: of a dataset and day, files are set aside and no other file holds a line.
    """
    unreadable = [part for part in parts if part.set_aside and not part.lines]
    if not unreadable:
        return
    part = unreadable[0]
    first = next(f"{f.name}: {s.problem}" for f, s in zip(part.files, part.scans, strict=True) if s.problem)
    files = f"all {part.set_aside} files with data are" if part.set_aside > 1 else "the only file with data is"
    more = f" {len(unreadable) - 1} more partitions are unreadable as well." if len(unreadable) > 1 else ""
    raise BadData(
        f"{part.dataset.landing}/{ingest_partition(part.day)}: {files} set aside; {first}.{more} "
        "Nothing was published: land readable files, and run the same call again."
    )


def _check_lines(parts: Iterable[_Part], tallies: Mapping[date, Tally]) -> None:
    for part in parts:
        if part.lines != tallies[part.day].lines:
            raise JobError(
                f"{part.dataset.landing}/{ingest_partition(part.day)} has {part.lines} lines, but "
                f"{tallies[part.day].lines} came out of the check. A file changed meanwhile, or this is a bug; "
                "nothing was published, run the same call again."
            )


def _has_bad(parts: Iterable[_Part], tallies: Mapping[date, Tally]) -> bool:
    return any(part.set_aside or tallies[part.day].quarantined for part in parts)


def _check_share(
    parts: Mapping[str, Iterable[_Part]], tallies: Mapping[str, Mapping[date, Tally]], max_bad_share: float
) -> None:
    too_bad = []
    for part in (part for of_dataset in parts.values() for part in of_dataset):
        tally = tallies[part.dataset.name][part.day]
        if tally.quarantined > max_bad_share * part.lines:
            top = ", ".join(f"{n} × {rule}" for rule, n in tally.reasons.most_common(TOP_REASONS))
            too_bad.append(
                f"{part.dataset.landing}/{ingest_partition(part.day)}: {tally.quarantined} of {part.lines} lines "
                f"({tally.quarantined / part.lines:.2%}) are bad: {top}"
            )
    if too_bad:
        more = f" {len(too_bad) - 1} more partitions are too bad as well." if len(too_bad) > 1 else ""
        raise BadData(
            f"{too_bad[0]}.{more} Nothing was published: mend the files, "
            f"or allow more than {max_bad_share:.2%} with --max-bad-share."
        )


# -- manifests and publication -------------------------------------------------------------------------------

_Made = tuple[Manifest, list[Staged]]


def _manifest(lake: Lake, staging: str, part: _Part, landing: Landing, tally: Tally, began: float) -> _Made:
    """The manifest of a bronze partition, from its staged files as they lie on the store."""
    dataset = part.dataset
    staged = staged_parquet(lake, f"{staging}/{dataset.name}/{ingest_partition(part.day)}")
    dates: Counter[str] = Counter()
    digest = table_digest(_counting_dates(parquet_batches(lake, staged), dataset.time, dates))
    counts: dict[str, Any] = {
        "lines": part.lines,
        "valid": digest.rows,
        "duplicates": tally.accepted - digest.rows,
        "quarantined": tally.quarantined,
        "files": len(part.files),
        "files_set_aside": part.set_aside,
        "unknown_columns": dict(tally.unknown_columns),
        "reasons": dict(tally.reasons),
    }
    if dataset.time:
        counts["dates"] = dict(dates)
    return _describe(dataset.bronze, landing.day, landing.inputs(dataset.name), digest, counts, began), staged


def _quarantine_manifest(
    lake: Lake,
    staging: str,
    landing: Landing,
    parts: Mapping[str, Sequence[_Part]],
    tallies: Mapping[str, Mapping[date, Tally]],
    began: float,
) -> _Made:
    staged = staged_parquet(lake, f"{staging}/quarantine/{ingest_partition(landing.day)}")
    digest = parquet_digest(lake, staged)
    of_day = [part for of_dataset in parts.values() for part in of_dataset if part.day == landing.day]
    counts = {part.dataset.name: tallies[part.dataset.name][landing.day].quarantined for part in of_day}
    set_aside = sum(part.set_aside for part in of_day)
    if digest.rows != sum(counts.values()) + set_aside:
        raise JobError(
            f"{QUARANTINE}/{ingest_partition(landing.day)}: {digest.rows} rows were staged for {sum(counts.values())} "
            f"bad lines and {set_aside} files set aside. This is a bug; nothing was published."
        )
    counts["files_set_aside"] = set_aside
    return _describe(QUARANTINE, landing.day, landing.all_inputs, digest, counts, began), staged


def _describe(
    dataset: str, day: date, inputs: str, digest: Digest, counts: Mapping[str, Any], began: float
) -> Manifest:
    return Manifest(
        dataset=dataset,
        partition=ingest_partition(day),
        job=JOB,
        code_version=_code(),
        inputs=inputs,
        digest=digest.hexdigest(),
        rows=digest.rows,
        counts=counts,
        seconds=round(time.perf_counter() - began, 1),
    )


def _counting_dates(
    batches: Iterable[pa.RecordBatch], time_column: str | None, dates: Counter[str]
) -> Iterator[pa.RecordBatch]:
    """Passes the batches on; counts the rows of each UTC date of the time column into ``dates``."""
    for batch in batches:
        if time_column:
            for found in pc.value_counts(batch.column(time_column).cast(pa.date32())).to_pylist():
                dates[found["values"].isoformat()] += found["counts"]
        yield batch


def _publish(lake: Lake, landings: Iterable[Landing], made: Iterable[_Made]) -> None:
    """Day by day; a day's quarantine comes last, because without it the day counts as not done."""
    for landing in landings:
        partition = ingest_partition(landing.day)
        lake.retract(QUARANTINE, partition)
        for dataset in DATASETS:
            if dataset.name not in landing.files:
                lake.retract(dataset.bronze, partition)
                for file in lake.files(f"{dataset.bronze}/{partition}"):
                    lake.filesystem.delete_file(file.path)
        for manifest, staged in made:
            if manifest.partition == partition:
                lake.publish(manifest, staged)


def _totals(lake: Lake, landings: Iterable[Landing]) -> dict[str, Any]:
    """Counts over the whole range as published: of transactions, and of the other datasets under their names."""
    totals: dict[str, Counter[str]] = {}
    for landing in landings:
        for dataset in landing.files:
            manifest = lake.manifest(f"bronze/{dataset}", ingest_partition(landing.day))
            if manifest is not None:
                counts = manifest.counts
                totals.setdefault(dataset, Counter()).update(
                    rows_in=counts["lines"],
                    rows_out=counts["valid"],
                    duplicates=counts["duplicates"],
                    quarantined=counts["quarantined"],
                    files_set_aside=counts["files_set_aside"],
                )
    transactions = totals.pop(TRANSACTIONS.name)
    return dict(transactions) | {name: dict(counts) for name, counts in totals.items()}
