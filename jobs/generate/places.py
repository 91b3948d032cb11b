"""Cities and countries of the world, the distances between them and their clocks."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import TypeVar
from zoneinfo import ZoneInfo

import numpy as np

from jobs.common.formulas import haversine_km
from jobs.generate.parameters import EPOCH

Day = TypeVar("Day", int, np.ndarray)

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
EPOCH_US = int(datetime(EPOCH.year, EPOCH.month, EPOCH.day, tzinfo=UTC).timestamp()) * 1_000_000

# name, country, latitude, longitude, inhabitants in thousands. Those of EU and UK are homes; all can be visited.
_HOMES = """
London,GB,51.5074,-0.1278,8900;Birmingham,GB,52.4862,-1.8904,1140;Manchester,GB,53.4808,-2.2426,550
Leeds,GB,53.8008,-1.5491,790;Glasgow,GB,55.8642,-4.2518,635;Bristol,GB,51.4545,-2.5879,470
Edinburgh,GB,55.9533,-3.1883,525;Cardiff,GB,51.4816,-3.1791,365;Belfast,GB,54.5973,-5.9301,345
Berlin,DE,52.5200,13.4050,3700;Hamburg,DE,53.5511,9.9937,1850;Munich,DE,48.1351,11.5820,1490
Cologne,DE,50.9375,6.9603,1080;Frankfurt,DE,50.1109,8.6821,760;Stuttgart,DE,48.7758,9.1829,630
Leipzig,DE,51.3397,12.3731,600;Dresden,DE,51.0504,13.7373,560;Hanover,DE,52.3759,9.7320,540
Paris,FR,48.8566,2.3522,2150;Marseille,FR,43.2965,5.3698,870;Lyon,FR,45.7640,4.8357,520
Toulouse,FR,43.6047,1.4442,490;Nice,FR,43.7102,7.2620,340;Nantes,FR,47.2184,-1.5536,320
Bordeaux,FR,44.8378,-0.5792,260;Lille,FR,50.6292,3.0573,235;Strasbourg,FR,48.5734,7.7521,285
Madrid,ES,40.4168,-3.7038,3300;Barcelona,ES,41.3874,2.1686,1640;Valencia,ES,39.4699,-0.3763,790
Seville,ES,37.3891,-5.9845,685;Zaragoza,ES,41.6488,-0.8891,675;Malaga,ES,36.7213,-4.4214,578
Bilbao,ES,43.2630,-2.9350,345;Rome,IT,41.9028,12.4964,2800;Milan,IT,45.4642,9.1900,1370
Naples,IT,40.8518,14.2681,920;Turin,IT,45.0703,7.6869,850;Palermo,IT,38.1157,13.3615,640
Bologna,IT,44.4949,11.3426,390;Florence,IT,43.7696,11.2558,360;Bari,IT,41.1171,16.8719,315
Warsaw,PL,52.2297,21.0122,1860;Krakow,PL,50.0647,19.9450,800;Lodz,PL,51.7592,19.4560,670
Wroclaw,PL,51.1079,17.0385,670;Poznan,PL,52.4064,16.9252,545;Gdansk,PL,54.3520,18.6466,487
Bucharest,RO,44.4268,26.1025,1720;Cluj-Napoca,RO,46.7712,23.6236,287;Timisoara,RO,45.7489,21.2087,251
Amsterdam,NL,52.3676,4.9041,905;Rotterdam,NL,51.9244,4.4777,655;The Hague,NL,52.0705,4.3007,550
Utrecht,NL,52.0907,5.1214,361;Brussels,BE,50.8503,4.3517,1220;Antwerp,BE,51.2194,4.4025,530
Ghent,BE,51.0543,3.7174,265;Stockholm,SE,59.3293,18.0686,985;Gothenburg,SE,57.7089,11.9746,590
Malmo,SE,55.6050,13.0038,352;Copenhagen,DK,55.6761,12.5683,650;Aarhus,DK,56.1629,10.2039,285
Helsinki,FI,60.1699,24.9384,660;Tampere,FI,61.4978,23.7610,245;Vienna,AT,48.2082,16.3738,1980
Graz,AT,47.0707,15.4395,295;Prague,CZ,50.0755,14.4378,1330;Brno,CZ,49.1951,16.6068,385
Budapest,HU,47.4979,19.0402,1700;Lisbon,PT,38.7223,-9.1393,545;Porto,PT,41.1579,-8.6291,232
Athens,GR,37.9838,23.7275,660;Thessaloniki,GR,40.6401,22.9444,317;Dublin,IE,53.3498,-6.2603,592
Cork,IE,51.8985,-8.4756,222;Sofia,BG,42.6977,23.3219,1240;Plovdiv,BG,42.1354,24.7453,347
Zagreb,HR,45.8150,15.9819,770;Split,HR,43.5081,16.4402,161;Bratislava,SK,48.1486,17.1077,475
Kosice,SK,48.7164,21.2611,229;Ljubljana,SI,46.0569,14.5058,285;Vilnius,LT,54.6872,25.2797,590
Kaunas,LT,54.8985,23.9036,300;Riga,LV,56.9496,24.1052,605;Tallinn,EE,59.4370,24.7536,455
Luxembourg,LU,49.6116,6.1319,132;Valletta,MT,35.8989,14.5146,213;Nicosia,CY,35.1856,33.3823,250
"""
_ABROAD = """
New York,US,40.7128,-74.0060,8300;Istanbul,TR,41.0082,28.9784,15000;Dubai,AE,25.2048,55.2708,3500
Marrakesh,MA,31.6295,-7.9811,930;Cairo,EG,30.0444,31.2357,10000;Tel Aviv,IL,32.0853,34.7818,460
Zurich,CH,47.3769,8.5417,430;Oslo,NO,59.9139,10.7522,700;Belgrade,RS,44.7866,20.4489,1400
Bangkok,TH,13.7563,100.5018,10500;Singapore,SG,1.3521,103.8198,5700;Sao Paulo,BR,-23.5505,-46.6333,12300
"""
_ZONES = {
    "GB": "Europe/London", "DE": "Europe/Berlin", "FR": "Europe/Paris", "ES": "Europe/Madrid", "IT": "Europe/Rome",
    "PL": "Europe/Warsaw", "RO": "Europe/Bucharest", "NL": "Europe/Amsterdam", "BE": "Europe/Brussels",
    "SE": "Europe/Stockholm", "DK": "Europe/Copenhagen", "FI": "Europe/Helsinki", "AT": "Europe/Vienna",
    "CZ": "Europe/Prague", "HU": "Europe/Budapest", "PT": "Europe/Lisbon", "GR": "Europe/Athens",
    "IE": "Europe/Dublin", "BG": "Europe/Sofia", "HR": "Europe/Zagreb", "SK": "Europe/Bratislava",
    "SI": "Europe/Ljubljana", "LT": "Europe/Vilnius", "LV": "Europe/Riga", "EE": "Europe/Tallinn",
    "LU": "Europe/Luxembourg", "MT": "Europe/Malta", "CY": "Asia/Nicosia", "US": "America/New_York",
    "TR": "Europe/Istanbul", "AE": "Asia/Dubai", "MA": "Africa/Casablanca", "EG": "Africa/Cairo",
    "IL": "Asia/Jerusalem", "CH": "Europe/Zurich", "NO": "Europe/Oslo", "RS": "Europe/Belgrade",
    "TH": "Asia/Bangkok", "SG": "Asia/Singapore", "BR": "America/Sao_Paulo",
}  # fmt: skip


def _rows(text: str) -> list[list[str]]:
    return [row.split(",") for line in text.split("\n") for row in line.split(";") if row]


_CLOCKS = [ZoneInfo(name) for name in _ZONES.values()]
_ALL = _rows(_HOMES) + _rows(_ABROAD)
CITIES = len(_ALL)
HOME_CITIES = len(_rows(_HOMES))
COUNTRIES = list(_ZONES)
"""Country codes; a country's index also names its time zone."""
CITY_COUNTRY = np.array([COUNTRIES.index(row[1]) for row in _ALL])
LATITUDE = np.array([float(row[2]) for row in _ALL])
LONGITUDE = np.array([float(row[3]) for row in _ALL])
INHABITANTS = np.array([float(row[4]) for row in _ALL])
HOME_WEIGHT = np.where(np.arange(CITIES) < HOME_CITIES, INHABITANTS**1.3, 0.0)
"""Where cardholders live: cities follow Zipf's law, and an issuer is stronger in the large ones."""
VISIT_WEIGHT = np.sqrt(INHABITANTS) * np.where(np.arange(CITIES) < HOME_CITIES, 1.0, 0.5)
ONLINE_WEIGHT = np.array(
    [{"IE": 4.0, "LU": 3.0, "NL": 3.0, "GB": 6.0, "US": 6.0, "DE": 5.0}.get(c, 0.5) for c in COUNTRIES]
)
"""Where web shops sit that sell across borders."""

DISTANCE = haversine_km(LATITUDE[:, None], LONGITUDE[:, None], LATITUDE[None, :], LONGITUDE[None, :])
FARTHEST_FIRST = np.argsort(-DISTANCE, axis=1, kind="stable")


@lru_cache(maxsize=64)
def utc_offsets(day: int) -> np.ndarray:
    """Minutes to add to UTC, by country and hour of the UTC day ``day`` (days since the epoch): int64 (countries, 24)."""
    start = datetime(EPOCH.year, EPOCH.month, EPOCH.day, tzinfo=UTC) + timedelta(days=day)
    hours = [start + timedelta(hours=h) for h in range(24)]
    return np.array([_day_of_offsets(hours, zone) for zone in _CLOCKS], np.int64)


def _day_of_offsets(hours: list[datetime], zone: ZoneInfo) -> list[int]:
    first, last = _minutes(hours[0], zone), _minutes(hours[-1], zone)
    return [first] * 24 if first == last else [_minutes(hour, zone) for hour in hours]


def _minutes(moment: datetime, zone: ZoneInfo) -> int:
    offset = moment.astimezone(zone).utcoffset()
    assert offset is not None
    return int(offset.total_seconds()) // 60


def local_offset(country: np.ndarray, time: np.ndarray, day: int) -> np.ndarray:
    """Minutes to add to the UTC time (µs, all within one day) at a place in the country."""
    return utc_offsets(day)[country, (time - EPOCH_US) // HOUR_US - day * 24]


def midnight(day: Day) -> Day:
    """UTC microseconds at which a day (days since the epoch) begins."""
    return EPOCH_US + day * DAY_US


def calendar(day: int) -> date:
    return EPOCH + timedelta(days=day)
