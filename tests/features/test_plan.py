"""Which event dates a run computes, as pure functions over manifests."""

from __future__ import annotations

from datetime import date, timedelta

from jobs.common.lake import Manifest
from jobs.features.plan import BronzeDay, blocks, candidates, stale, target

D = date(2026, 3, 10)


def day(offset: int) -> date:
    return D + timedelta(days=offset)


def bronze(name: str, ingest: int, *events: int, digest: str = "d") -> BronzeDay:
    return BronzeDay(f"bronze/{name}", day(ingest), digest, len(events), tuple(sorted(map(day, events))))


def test_a_late_row_reaches_every_date_of_the_90_days_after_it() -> None:
    late = bronze("transactions", 5, 0)
    assert [late.reaches(day(i)) for i in (-1, 0, 90, 91)] == [False, True, True, False]


def test_a_chargeback_reaches_37_days_and_a_card_version_for_ever() -> None:
    assert [bronze("chargebacks", 0, 0).reaches(day(i)) for i in (-1, 0, 37, 38)] == [False, True, True, False]
    # A version valid from the midnight that ends a day is in force in that day's snapshot.
    assert [bronze("cards", 0, 0).reaches(day(i)) for i in (-2, -1, 0, 4000)] == [False, True, True, True]


def test_the_first_and_the_last_date_that_there_is() -> None:
    ancient = BronzeDay("bronze/transactions", D, "d", 1, (date.min, D))
    assert ancient.reaches(date.min)
    assert BronzeDay("bronze/cards", D, "d", 1, (date.max,)).reaches(date.max)


def test_dates_far_apart_are_computed_in_passes_of_their_own() -> None:
    dates = [date(1970, 1, 1), date(1970, 3, 1), D, day(365), day(366)]
    passes = blocks(target(d, [], "v") for d in reversed(dates))
    assert [[t.event_date for t in block] for block in passes] == [dates[:2], dates[2:4], dates[4:]]


def test_a_run_considers_its_days_what_they_touch_and_whatever_is_published() -> None:
    landed = [bronze("transactions", 5, 2, 5)]
    found = candidates([day(5)], landed, published=[day(1), day(4), day(7), day(8)], known_until=day(7))
    assert found == [day(1), day(2), day(4), day(5), day(7)]


def test_a_full_table_of_cards_does_not_make_dates_of_years_ago() -> None:
    found = candidates(
        [day(0)], [bronze("cards", 0, -900, 0), bronze("transactions", 0, 0)], published=[day(-3)], known_until=day(0)
    )
    assert found == [day(-3), day(0)]


def test_nothing_beyond_what_is_known_is_computed() -> None:
    assert candidates([day(0)], [bronze("transactions", 0, 0, 3)], [], known_until=day(0)) == [day(0)]


def test_a_date_is_stale_when_a_partition_that_reaches_it_changed_and_only_then() -> None:
    before = [bronze("transactions", 0, 0), bronze("transactions", 1, 1)]
    published = {t.event_date: _manifest(t.inputs) for t in (target(day(i), before, "v1") for i in (0, 1))}

    def stale_dates(after: list[BronzeDay], version: str = "v1") -> list[date]:
        return [t.event_date for t in stale([target(day(i), after, version) for i in (0, 1)], published)]

    assert stale_dates(before) == []
    assert stale_dates([before[0], bronze("transactions", 1, 1, digest="other")]) == [day(1)]
    assert stale_dates([*before, bronze("transactions", 2, 2)]) == []
    assert stale_dates([*before, bronze("transactions", 2, 0, 2)]) == [day(0), day(1)]
    assert stale_dates(before, version="v2") == [day(0), day(1)]


def test_a_date_is_known_at_the_midnight_after_its_newest_input() -> None:
    assert target(day(0), [bronze("transactions", 0, 0)], "v").known_at == day(1)
    assert target(day(0), [bronze("transactions", 0, 0), bronze("transactions", 3, 0, 3)], "v").known_at == day(4)
    assert target(day(0), [bronze("transactions", 0, 0), bronze("transactions", 3, 3)], "v").known_at == day(1)


def _manifest(inputs: str) -> Manifest:
    return Manifest("silver", "p", "features", "v1", inputs, "", 0)
