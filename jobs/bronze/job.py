"""The bronze job: which days have something new, one start of Spark for all of them, then publication day by day."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import click

from jobs.bronze.check import Tally
from jobs.bronze.landing import LandedFile, Landing, Scan, in_threads, read_landings, scan
from jobs.bronze.stage import BronzeTask, CheckedDay, CheckTask, QuarantineTask, Source, StagedFile
from jobs.common.cli import JobContext, job_command
from jobs.common.contract import DATASETS, FORMATS, QUARANTINE, TRANSACTIONS, LandingDataset
from jobs.common.digest import Digest
from jobs.common.errors import BadData, JobError, WrongCall
from jobs.common.lake import Lake, Manifest, Staged, ingest_partition, staged_name
from jobs.common.version import code_version
from jobs.common.workplace import Workplace

if TYPE_CHECKING:
    from pyspark import SparkContext

JOB = "bronze"
ROWS_PER_FILE = 1_000_000
TASKS_AT_LEAST, SMALLEST_TASK = 8, 256 << 10
BYTES_PER_TASK = 32 << 20
MOST_SLICES = 256
"""Tasks beyond this number share one of Spark's, which has a price of its own."""
TOP_REASONS = 3

R = TypeVar("R", covariant=True)


class _Task(Protocol[R]):
    def run(self) -> R: ...


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
    """One dataset's share of one day, from scan to publication.

    Attributes:
        checked: what the tasks found in its files, in their order.
        staged: its Parquet files.
    """

    dataset: LandingDataset
    day: date
    files: Sequence[LandedFile]
    scans: Sequence[Scan]
    checked: list[CheckedDay] = field(default_factory=list)
    staged: list[StagedFile] = field(default_factory=list)

    @property
    def lines(self) -> int:
        return sum(s.lines for s in self.scans)

    @property
    def set_aside(self) -> int:
        return sum(s.problem is not None for s in self.scans)

    @property
    def name(self) -> str:
        return f"{self.dataset.landing}/{ingest_partition(self.day)}"

    @cached_property
    def tally(self) -> Tally:
        tally = Tally()
        for checked in self.checked:
            tally.add(checked.tally)
        return tally

    @property
    def sources(self) -> list[Source]:
        parts = max(1, -(-self.lines // ROWS_PER_FILE))
        found = enumerate(zip(self.files, self.scans, strict=True))
        return [Source(self.day, f.path, f.name, number, parts, s.problem) for number, (f, s) in found]

    def bronze_tasks(self, place: Workplace) -> list[BronzeTask]:
        names = [f.name for f in self.files]
        runs: dict[int, list[str]] = {}
        for checked in self.checked:
            for number, run in checked.runs.items():
                runs.setdefault(number, []).append(run)
        return [BronzeTask(place, self.dataset, self.day, number, names, runs[number]) for number in sorted(runs)]


def _ingest(context: JobContext, landings: Sequence[Landing], max_bad_share: float) -> None:
    """Makes the bronze partitions of the days and publishes them, all or (when data is too bad) none."""
    from jobs.common.spark import spark_context

    began = time.perf_counter()
    lake, settings, log = context.lake, context.settings, context.log
    parts = [part for dataset in DATASETS for part in _scan(lake, dataset, landings, log)]
    _check_readable(parts)
    with lake.staging() as staging, spark_context(settings, lake, JOB, daemon="jobs.bronze.daemon") as spark:
        place = Workplace(lake.uri, settings, staging)
        _check_files(spark, place, parts)
        for part in parts:
            _check_lines(part)
        for dataset, of_dataset in _by_dataset(parts):
            log.info("checked", dataset=dataset, lines=sum(part.lines for part in of_dataset))
        _check_share(parts, max_bad_share)
        quarantined = _write(spark, place, parts)
        for dataset, of_dataset in _by_dataset(parts):
            log.info(
                "staged", dataset=dataset, duplicates=sum(f.duplicates for part in of_dataset for f in part.staged)
            )
        made = [_manifest(part, landing, began) for part in parts for landing in landings if part.day == landing.day]
        made += [_quarantine_manifest(landing, parts, quarantined.get(landing.day), began) for landing in landings]
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


def _by_dataset(parts: Iterable[_Part]) -> Iterator[tuple[str, list[_Part]]]:
    """The parts of each dataset, which stand side by side."""
    for dataset, of_dataset in groupby(parts, lambda part: part.dataset.name):
        yield dataset, list(of_dataset)


def _check_files(spark: SparkContext, place: Workplace, parts: Sequence[_Part]) -> None:
    """Has all files checked, and tells the parts what came of it."""
    tasks = [
        CheckTask(place, of_dataset[0].dataset, number, sources)
        for _, of_dataset in _by_dataset(parts)
        for number, sources in enumerate(_tasks(of_dataset))
    ]
    part_of = {(part.dataset.name, part.day): part for part in parts}
    for checked in chain.from_iterable(_run(spark, tasks)):
        part_of[checked.dataset.name, checked.day].checked.append(checked)


def _write(spark: SparkContext, place: Workplace, parts: Sequence[_Part]) -> dict[date, StagedFile]:
    """Has all Parquet files written, and tells the parts of theirs.

    Returns:
        The quarantine's file of each day that has one.
    """
    refused: dict[date, list[str]] = {}
    for part in sorted(parts, key=lambda part: part.dataset.name):
        for checked in part.checked:
            if checked.refused:
                refused.setdefault(part.day, []).append(checked.refused)
    bronze = [(task, part) for part in parts for task in part.bronze_tasks(place)]
    quarantine = [QuarantineTask(place, day, runs) for day, runs in refused.items()]
    tasks: list[_Task[StagedFile]] = [*(task for task, _ in bronze), *quarantine]
    written = _run(spark, tasks)
    for (_, part), file in zip(bronze, written, strict=False):
        part.staged.append(file)
    return dict(zip(refused, written[len(bronze) :], strict=True))


def _run(spark: SparkContext, tasks: Sequence[_Task[R]]) -> list[R]:
    """Runs tasks in Spark's workers. The outcomes stand as the tasks do."""
    if not tasks:
        return []
    return spark.parallelize(tasks, min(len(tasks), MOST_SLICES)).map(lambda task: task.run()).collect()


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


def _check_lines(part: _Part) -> None:
    if part.lines != part.tally.lines:
        raise JobError(
            f"{part.name} has {part.lines} lines, but {part.tally.lines} came out of the check. A file changed "
            "meanwhile, or this is a bug; nothing was published, run the same call again."
        )


def _check_share(parts: Iterable[_Part], max_bad_share: float) -> None:
    too_bad = []
    for part in parts:
        bad = part.tally.quarantined
        if bad > max_bad_share * part.lines:
            most = part.tally.reasons.most_common(TOP_REASONS)
            top = ", ".join(f"{n} × {rule} (first: {part.tally.first[rule]})" for rule, n in most)
            too_bad.append(f"{part.name}: {bad} of {part.lines} lines ({bad / part.lines:.2%}) are bad: {top}")
    if too_bad:
        more = f" {len(too_bad) - 1} more partitions are too bad as well." if len(too_bad) > 1 else ""
        raise BadData(
            f"{too_bad[0]}.{more} Nothing was published: mend the files, "
            f"or allow more than {max_bad_share:.2%} with --max-bad-share."
        )


# -- manifests and publication -------------------------------------------------------------------------------

_Made = tuple[Manifest, list[Staged]]


def _manifest(part: _Part, landing: Landing, began: float) -> _Made:
    """The manifest of a bronze partition, from its staged files as they lie on the store."""
    digest, dates = Digest(), Counter[str]()
    for file in part.staged:
        digest.merge(file.digest)
        dates += file.dates
    duplicates = part.tally.accepted - digest.rows
    if duplicates != sum(file.duplicates for file in part.staged):
        raise JobError(
            f"{part.name}: {duplicates} lines are missing from the staged files, but "
            f"{sum(file.duplicates for file in part.staged)} are duplicates. This is a bug; nothing was published."
        )
    counts: dict[str, Any] = {
        "lines": part.lines,
        "valid": digest.rows,
        "duplicates": duplicates,
        "quarantined": part.tally.quarantined,
        "files": len(part.files),
        "files_set_aside": part.set_aside,
        "unknown_columns": dict(part.tally.unknown_columns),
        "reasons": dict(part.tally.reasons),
    }
    if part.dataset.time:
        counts["dates"] = dict(dates)
    inputs = landing.inputs(part.dataset.name)
    return _describe(part.dataset.bronze, landing.day, inputs, digest, counts, began), _staged(part.staged)


def _quarantine_manifest(landing: Landing, parts: Iterable[_Part], file: StagedFile | None, began: float) -> _Made:
    of_day = [part for part in parts if part.day == landing.day]
    counts = {part.dataset.name: part.tally.quarantined for part in of_day}
    set_aside = sum(part.set_aside for part in of_day)
    digest = file.digest if file else Digest()
    if digest.rows != sum(counts.values()) + set_aside:
        raise JobError(
            f"{QUARANTINE}/{ingest_partition(landing.day)}: {digest.rows} rows were staged for {sum(counts.values())} "
            f"bad lines and {set_aside} files set aside. This is a bug; nothing was published."
        )
    counts["files_set_aside"] = set_aside
    manifest = _describe(QUARANTINE, landing.day, landing.all_inputs, digest, counts, began)
    return manifest, _staged([file] if file else [])


def _staged(files: Iterable[StagedFile]) -> list[Staged]:
    return [Staged(file.path, staged_name(i)) for i, file in enumerate(files)]


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
