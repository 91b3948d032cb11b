"""The job from landing folders to published partitions."""

from __future__ import annotations

import gzip
import json
import random
import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from jobs.bronze import job
from jobs.common.contract import DATASETS, QUARANTINE
from jobs.common.errors import BadData, WrongCall
from jobs.common.lake import Lake, Manifest, Staged, ingest_partition
from jobs.common.settings import Settings
from tests.bronze.conftest import DAY, GOOD, bronze, counts, csv_lines, digests, good_lines, land, rows, snapshot
from tests.bronze.corpus import random_day
from tests.bronze.second_reading import read_day

PLACE = ("source_file", "source_line", "ingest_time")
RECORD = json.loads(GOOD % "t")

# -- every situation has an ingest day of its own, and one call ingests them all -------------------------------

LINES: dict[str, tuple[dict[str, Any], str | None]] = {
    "plain": ({}, None),
    "unicode id": ({"card_id": "карта-1"}, None),
    "numbers as JSON numbers": ({"amount": 12.3, "mcc": 5411, "latitude": -90, "longitude": 1e2}, None),
    "amount with three places": (
        {"amount": "12.345"},
        'amount "12.345": expected amount above 0 with at most 2 decimal places, no sign, no exponent',
    ),
    "amount with a third place of zero": ({"amount": "12.340"}, 'amount "12.340": expected amount above 0'),
    "amount with an exponent": ({"amount": "1e2"}, 'amount "1e2": expected'),
    "negative amount": ({"amount": "-5"}, 'amount "-5": expected'),
    "amount of zero": ({"amount": "0.00"}, 'amount "0.00": expected'),
    "30 February": ({"event_time": "2026-02-30T10:00:00Z"}, 'event_time "2026-02-30T10:00:00Z": expected RFC 3339 time'),
    "hour 25": ({"event_time": "2026-01-05T25:00:00Z"}, "event_time"),
    "no offset": ({"event_time": "2026-01-05T10:00:00"}, "event_time"),
    "offset beyond 18 hours": ({"event_time": "2026-01-05T10:00:00+18:01"}, "event_time"),
    "small letters and a space": ({"event_time": "2026-01-05 10:00:00.25z"}, None),
    "first moment": ({"event_time": "0001-01-01T00:00:00Z"}, None),
    "before the first moment": ({"event_time": "0001-01-01T00:00:00+00:01"}, "event_time"),
    "last moment": ({"event_time": "9999-12-31T23:59:59.999999Z"}, None),
    "after the last moment": ({"event_time": "9999-12-31T23:59:59.999999-00:01"}, "event_time"),
    "year 0": ({"event_time": "0000-12-31T23:59:59Z"}, "event_time"),
    "year 0 by its clock alone": ({"event_time": "0000-12-31T23:59:59-01:00"}, None),
    "no merchant": ({"merchant_id": None}, "merchant_id is missing"),
    "blank merchant": ({"merchant_id": "  "}, "merchant_id is missing"),
    "two rules broken, the first column counts": ({"mcc": "x", "amount": "x"}, 'mcc "x": expected 4-digit'),
    "latitude out of range": ({"latitude": 90.5}, 'latitude "90.5": expected degrees from -90 to 90'),
    "newline at the end of a value": ({"currency": "EUR\n"}, 'currency "EUR\n": expected'),
    "long value": ({"channel": "x" * 500}, f'channel "{"x" * 79}…": expected one of pos'),
    "unknown column": ({"extra": [1]}, None),
}  # fmt: skip
SITUATIONS = [
    "random",
    "random again",
    "lines",
    "truncated gzip",
    "unknown endings",
    "nothing in it",
    "duplicates",
    "line ends",
    "shuffled",
    "as shuffled",
]
DAYS = {name: DAY + timedelta(days=i) for i, name in enumerate(SITUATIONS)}
RANDOM = {"random": random_day(1, 2400), "random again": random_day(2, 1200)}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    """A lake with all situations ingested."""
    lake = Lake.open((tmp_path_factory.mktemp("bronze") / "a lake").as_uri(), Settings())
    for name, datasets in RANDOM.items():
        for dataset, files in datasets.items():
            land(lake, DAYS[name], files, dataset)
    records = [RECORD | {"transaction_id": name} | change for name, (change, _) in LINES.items()]
    land(lake, DAYS["lines"], {"f.jsonl": "\n".join(map(json.dumps, records))})
    whole = gzip.compress(good_lines(5000).encode())
    land(lake, DAYS["truncated gzip"], {"cut.jsonl.gz": whole[:-100], "good.jsonl": good_lines(3)})
    land(
        lake,
        DAYS["unknown endings"],
        {"up.CSV": csv_lines(2), "up.JSONL.GZ": gzip.compress(good_lines(1, "u").encode()), "x.ndjson": good_lines(9)}
        | {"_hidden.json": "{}", ".hidden.parquet": "PAR1", "empty.done": ""},
    )
    land(lake, DAYS["nothing in it"], {"a.jsonl": "", "b.csv": ",".join(RECORD), "c.jsonl": "\ufeff"})
    twice = good_lines(3) + good_lines(2).replace('"c"', '"later"')
    land(lake, DAYS["duplicates"], {"a.jsonl.gz": gzip.compress(twice.encode()), "b.jsonl": good_lines(4)})
    land(
        lake, DAYS["line ends"], {"f.jsonl": "\ufeff" + good_lines(2).replace("\n", "\r\n") + "\n\r\n" + GOOD % "last"}
    )
    lines = good_lines(400).splitlines(keepends=True)
    land(lake, DAYS["shuffled"], {"f.jsonl": "".join(lines)})
    random.Random(3).shuffle(lines)
    packed = gzip.compress("".join(lines[150:]).encode())
    land(lake, DAYS["as shuffled"], {"x.jsonl": "".join(lines[:150]), "y.jsonl.gz": packed})
    lake.write_bytes("_staging/20200101T000000-left/transactions/part=0/x.parquet", b"of a killed run")
    bronze(lake, len(DAYS))
    return lake


@pytest.mark.parametrize("name", RANDOM)
@pytest.mark.parametrize("dataset", DATASETS, ids=lambda d: d.name)
def test_a_second_reading_finds_the_same(lake: Lake, name: str, dataset: Any) -> None:
    expected = read_day(dataset, RANDOM[name][dataset.name])
    assert len(expected.valid) > 20
    assert len(expected.bad) > 20
    found = {(r["source_file"], r["source_line"]): r for r in rows(lake, dataset.bronze, DAYS[name])}
    bad = {
        (r["source_file"], r["source_line"]): r["reason"]
        for r in rows(lake, QUARANTINE, DAYS[name])
        if r["dataset"] == dataset.name
    }
    assert {place: bad[place] for place in bad.keys() - expected.bad} == {}, "bad lines that the second reading takes"
    assert expected.bad - bad.keys() == set(), "lines that the second reading refuses"
    assert found.keys() == expected.valid.keys()
    for place, row in found.items():
        assert {k: v for k, v in row.items() if k not in PLACE} == expected.valid[place], place
    told = counts(lake, dataset.bronze, DAYS[name])
    assert (told["lines"], told["duplicates"]) == (expected.lines, expected.duplicates)
    assert told["lines"] == told["valid"] + told["duplicates"] + told["quarantined"]
    assert sum(told["reasons"].values()) == told["quarantined"] == len(bad)


@pytest.mark.parametrize("name", LINES)
def test_verdict_on_a_line(lake: Lake, name: str) -> None:
    expected = LINES[name][1]
    line = list(LINES).index(name) + 1
    reasons = {r["source_line"]: r["reason"] for r in rows(lake, QUARANTINE, DAYS["lines"])}
    valid = {r["source_line"] for r in rows(lake, "bronze/transactions", DAYS["lines"])}
    if expected is None:
        assert line in valid, reasons.get(line)
    else:
        assert line not in valid
        assert reasons[line].startswith(expected)


def test_columns_and_their_types(lake: Lake) -> None:
    row = next(r for r in rows(lake, "bronze/transactions", DAYS["lines"]) if r["transaction_id"] == "plain")
    assert row == {
        "transaction_id": "plain",
        "event_time": datetime(2026, 1, 5, 9, 0, 0, 500_000, UTC),
        "utc_offset_minutes": 60,
        "card_id": "c",
        "account_id": "a",
        "merchant_id": "m",
        "mcc": 742,
        "amount_cents": 1234,
        "currency": "EUR",
        "channel": "pos",
        "card_present": True,
        "merchant_country": "DE",
        "latitude": None,
        "longitude": None,
        "status": "approved",
        "ingest_time": datetime.combine(DAYS["lines"] + timedelta(days=1), datetime.min.time(), UTC),
        "source_file": "f.jsonl",
        "source_line": 1,
    }
    assert list(row)[-3:] == ["ingest_time", "source_file", "source_line"]


def test_manifest_counts_dates_and_unknown_columns(lake: Lake) -> None:
    told = counts(lake, day=DAYS["lines"])
    assert told["dates"] == {"0001-01-01": 2, "2026-01-05": told["valid"] - 3, "9999-12-31": 1}
    assert told["unknown_columns"] == {"extra": 1}
    assert told["reasons"]["merchant_id is missing"] == 2
    assert "dates" not in counts(lake, "bronze/merchants", DAYS["random"])


def test_a_truncated_gzip_is_set_aside_whole(lake: Lake) -> None:
    (row,) = rows(lake, QUARANTINE, DAYS["truncated gzip"])
    assert (row["source_file"], row["source_line"], row["raw_line"]) == ("cut.jsonl.gz", 0, None)
    assert row["reason"].startswith("unreadable file: ")
    told = counts(lake, day=DAYS["truncated gzip"])
    assert [told[k] for k in ("lines", "valid", "quarantined", "files", "files_set_aside")] == [3, 3, 0, 2, 1]


def test_endings_in_capitals_are_known_and_files_of_unknown_endings_set_aside(lake: Lake) -> None:
    (row,) = rows(lake, QUARANTINE, DAYS["unknown endings"])
    assert (row["source_file"], row["source_line"], row["raw_line"]) == ("x.ndjson", 0, None)
    assert row["reason"] == "unknown ending: .ndjson, expected one of .jsonl, .csv, .jsonl.gz, .csv.gz"
    assert {r["source_file"] for r in rows(lake, "bronze/transactions", DAYS["unknown endings"])} == {
        "up.CSV",
        "up.JSONL.GZ",
    }
    told = counts(lake, day=DAYS["unknown endings"])
    assert [told[k] for k in ("lines", "valid", "quarantined", "files", "files_set_aside")] == [3, 3, 0, 3, 1]


def test_files_without_lines_make_an_empty_partition(lake: Lake) -> None:
    assert rows(lake, "bronze/transactions", DAYS["nothing in it"]) == []
    assert rows(lake, QUARANTINE, DAYS["nothing in it"]) == []
    assert counts(lake, day=DAYS["nothing in it"])["lines"] == 0


def test_of_duplicates_the_first_by_file_and_line_stands(lake: Lake) -> None:
    found = rows(lake, "bronze/transactions", DAYS["duplicates"])
    places = {r["transaction_id"]: (r["source_file"], r["source_line"], r["card_id"]) for r in found}
    assert places == {
        "t0": ("a.jsonl.gz", 1, "c"),
        "t1": ("a.jsonl.gz", 2, "c"),
        "t2": ("a.jsonl.gz", 3, "c"),
        "t3": ("b.jsonl", 4, "c"),
    }
    assert counts(lake, day=DAYS["duplicates"])["duplicates"] == 5


def test_line_ends_and_blank_lines(lake: Lake) -> None:
    assert {r["source_line"] for r in rows(lake, "bronze/transactions", DAYS["line ends"])} == {1, 2, 5}
    found = {r["source_line"]: (r["reason"], r["raw_line"]) for r in rows(lake, QUARANTINE, DAYS["line ends"])}
    assert found == {3: ("empty line", ""), 4: ("empty line", "")}


def test_other_order_and_other_files_give_the_same_values(lake: Lake) -> None:
    def values(day: date) -> list[dict[str, Any]]:
        found = rows(lake, "bronze/transactions", day)
        return sorted(
            ({k: v for k, v in r.items() if k not in PLACE} for r in found), key=lambda r: r["transaction_id"]
        )

    assert values(DAYS["shuffled"]) == values(DAYS["as shuffled"])


def test_every_line_ends_somewhere(lake: Lake) -> None:
    for day in DAYS.values():
        told = counts(lake, day=day)
        assert told["lines"] == told["valid"] + told["duplicates"] + told["quarantined"]


def test_a_second_call_changes_nothing_and_force_makes_the_same_bytes(lake: Lake) -> None:
    before, totals = snapshot(lake), bronze(lake, len(DAYS))
    assert totals["unchanged_days"] == len(DAYS)
    assert totals["rows_in"] == totals["rows_out"] + totals["duplicates"] + totals["quarantined"]
    assert bronze(lake, 1, force=True)["unchanged_days"] == 0
    assert snapshot(lake) == before
    left_by_a_killed_run = lake.path("_staging/20200101T000000-left/transactions/part=0/x.parquet")
    assert {f.path for f in lake.files("_staging")} <= {left_by_a_killed_run}


# -- calls of their own ----------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path) -> Lake:
    """Two days not yet ingested: two datasets on the first."""
    lake = Lake.open((tmp_path / "small").as_uri(), Settings())
    land(lake, DAY, {"f.jsonl": good_lines(50) + "broken\n"})
    land(lake, DAY, {"f.csv": "merchant_id,mcc,country\nm,5411,DE\n"}, "merchants")
    land(lake, DAY + timedelta(days=1), {"f.jsonl": good_lines(40, "u")})
    return lake


def test_too_many_bad_lines_publish_nothing_of_the_whole_call(small: Lake) -> None:
    with pytest.raises(BadData) as error:
        bronze(small, 2, max_bad_share=0.01)
    assert str(error.value) == (
        f"landing/transactions/ingest_date={DAY}: 1 of 51 lines (1.96%) are bad: 1 × broken JSON (first: f.jsonl:51). "
        "Nothing was published: mend the files, or allow more than 1.00% with --max-bad-share."
    )
    assert not small.files("bronze")
    assert digests(small) == {}


def test_the_first_line_that_breaks_each_rule_is_named_and_not_shown(
    small: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was published, so there is no quarantine to look into. The files are many tasks'."""
    monkeypatch.setattr(job, "SMALLEST_TASK", 1)
    secret, no_card = "hush {\n", GOOD.replace('"card_id": "c", ', "") % "s" + "\n"
    land(
        small, DAY, {"a.csv": csv_lines(3), "b/b.jsonl": good_lines(9, "b") + no_card, "c.jsonl": no_card + secret * 2}
    )
    with pytest.raises(BadData) as error:
        bronze(small, max_bad_share=0.01)
    assert (
        "5 of 67 lines (7.46%) are bad: 3 × broken JSON (first: c.jsonl:2), 2 × card_id is missing (first: b/b.jsonl:10)."
    ) in str(error.value)
    assert "hush" not in str(error.value)


def test_a_day_of_unreadable_files_keeps_what_good_files_made(small: Lake) -> None:
    bronze(small, 2)
    before, content = digests(small), snapshot(small)
    later = DAY + timedelta(days=1)
    cut = gzip.compress(good_lines(50).encode())[:-10]
    land(small, later, {"a.jsonl.gz": cut, "b.ndjson": good_lines(5), "empty.csv": "", "f.jsonl": ""})
    with pytest.raises(BadData) as error:
        bronze(small, 2)
    sentence = str(error.value)
    assert sentence.startswith(
        f"landing/transactions/ingest_date={later}: all 2 files with data are set aside; "
        "a.jsonl.gz: unreadable file: its gzip is cut short or corrupt ("
    )
    assert sentence.endswith("Nothing was published: land readable files, and run the same call again.")
    assert (digests(small), snapshot(small)) == (before, content)


def test_a_day_of_unknown_endings_alone_is_bad_data(small: Lake) -> None:
    land(small, DAY, {"f.parquet": "PAR1"}, "cards")
    with pytest.raises(BadData, match=r"^landing/cards/.*: the only file with data is set aside; f\.parquet: unknown"):
        bronze(small)
    assert not small.files("bronze")


def test_a_missing_day_is_a_wrong_call(small: Lake) -> None:
    with pytest.raises(WrongCall, match=r"^Missing partition landing/transactions/ingest_date=2026-01-07: put files"):
        bronze(small, 3)
    assert not small.files("bronze")


def test_publication_cut_short_anywhere_is_finished_by_the_next_call(
    small: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bronze(small, 2)
    expected, content = digests(small), snapshot(small)
    shutil.rmtree(small.path("bronze"))
    shutil.rmtree(small.path("_manifests"))
    publish = Lake.publish
    left = 2

    def dies(self: Lake, manifest: Manifest, staged: list[Staged]) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        publish(self, manifest, staged)

    with monkeypatch.context() as patch:
        patch.setattr(Lake, "publish", dies)
        with pytest.raises(KeyboardInterrupt):
            bronze(small, 2)
    assert len(digests(small)) == 2
    bronze(small, 2)
    assert digests(small) == expected
    assert snapshot(small) == content


def test_a_dataset_that_vanished_from_landing_vanishes_from_bronze(small: Lake) -> None:
    bronze(small, 2)
    kept = digests(small)
    shutil.rmtree(small.path("landing/merchants"))
    totals = bronze(small, 2)
    assert (totals["unchanged_days"], "merchants" in totals) == (1, False)
    assert not small.files("bronze/merchants")
    assert digests(small) == {k: v for k, v in kept.items() if k != ("bronze/merchants", ingest_partition(DAY))}
