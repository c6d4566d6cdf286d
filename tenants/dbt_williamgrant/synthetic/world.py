"""Who and what exists in the synthetic world: brands, markets, distributors, and the calendar.

Every name is invented and meant to look it. Country and currency codes are real; prices, duties and
rates are not.
"""

from __future__ import annotations

import calendar
import random
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import cached_property

YEARS_OF_HISTORY = 3  # whole calendar years of sales before the year of the as-of date


@dataclass(frozen=True)
class Brand:
    """A brand, the still it comes from, and how fast it grows a year."""

    brand_id: str
    name: str
    category: str
    launched: int
    distillery: str
    growth: float
    core: bool = True


@dataclass(frozen=True)
class Expression:
    """One bottle on the shelf; `cask_years` is how long its spirit matures, None if never."""

    expression_id: str
    brand_id: str
    name: str
    age: int | None
    cask_years: int | None
    abv: float
    ml: int
    price_gbp: float
    monthly_bottles: int
    launched: int

    @property
    def bottle_lpa(self) -> float:
        """Litres of pure alcohol in one bottle."""
        return self.ml / 1000 * self.abv / 100


@dataclass(frozen=True)
class Market:
    """A market: size relative to the home market, growth a year, duty on alcohol, price level."""

    code: str
    currency: str
    distributors: int
    size: float
    growth: float
    duty_gbp_per_lpa: float
    price_index: float


@dataclass(frozen=True)
class Distributor:
    """A partner in one market.

    `discount` is what it gets off list price, `discipline` how punctual its supply is, `appetite`
    how much stock it holds for each day it should, `momentum` its growth beyond its market's.
    """

    distributor_id: str
    name: str
    market: Market
    tier: str
    appointed: date
    target_days: int
    terms_days: int
    share: float
    discount: float
    discipline: float
    appetite: float
    momentum: float


BRANDS = (
    Brand("B01", "Glen Example", "SM", 1961, "GLX", 0.06),
    Brand("B02", "Ben Placeholder", "SM", 1979, "GLX", 0.03),
    Brand("B03", "Old Specimen", "BL", 1934, "LSP", -0.02),
    Brand("B04", "Sample & Daughters", "GN", 2009, "PSH", 0.08),
    Brand("B05", "Captain Fixture", "RM", 1998, "PSH", 0.01, core=False),
    Brand("B06", "Mock Orchard", "LQ", 2016, "PSH", -0.05, core=False),
)

EXPRESSIONS = (
    Expression("E01", "B01", "Glen Example 12 Year Old", 12, 12, 40.0, 700, 24.0, 210, 1963),
    Expression("E02", "B01", "Glen Example 15 Year Old", 15, 15, 43.0, 700, 38.0, 95, 1988),
    Expression("E03", "B01", "Glen Example 18 Year Old", 18, 18, 43.0, 700, 69.0, 42, 1992),
    Expression("E04", "B01", "Glen Example 21 Year Old", 21, 21, 46.0, 700, 124.0, 16, 2004),
    Expression("E05", "B02", "Ben Placeholder 10 Year Old", 10, 10, 40.0, 700, 21.0, 120, 1980),
    Expression(
        "E06", "B02", "Ben Placeholder 14 Year Old Port Wood", 14, 14, 46.0, 700, 41.0, 48, 2001
    ),
    Expression("E07", "B02", "Ben Placeholder Cask Strength", None, 8, 58.5, 700, 46.0, 24, 2012),
    Expression("E08", "B03", "Old Specimen Blended", None, 3, 40.0, 700, 10.5, 340, 1934),
    Expression("E09", "B03", "Old Specimen Blended Litre", None, 3, 40.0, 1000, 14.0, 130, 1971),
    Expression("E10", "B03", "Old Specimen 8 Year Old", 8, 8, 40.0, 700, 14.5, 110, 1999),
    Expression("E11", "B03", "Old Specimen 12 Year Old", 12, 12, 40.0, 700, 19.5, 60, 2006),
    Expression("E12", "B04", "Sample & Daughters Dry Gin", None, None, 41.4, 700, 16.0, 260, 2009),
    Expression(
        "E13", "B04", "Sample & Daughters Navy Strength", None, None, 57.0, 500, 21.0, 45, 2015
    ),
    Expression(
        "E14", "B04", "Sample & Daughters Dry Gin Litre", None, None, 41.4, 1000, 21.5, 70, 2013
    ),
    Expression("E15", "B05", "Captain Fixture White", None, None, 37.5, 700, 9.0, 95, 1998),
    Expression("E16", "B05", "Captain Fixture Aged 5 Years", 5, 5, 40.0, 700, 15.0, 70, 2007),
    Expression("E17", "B06", "Mock Orchard Original", None, None, 22.0, 500, 8.5, 60, 2016),
)

MARKETS = (
    Market("GB", "GBP", 2, 1.00, 0.00, 31.64, 1.00),
    Market("US", "USD", 3, 1.70, 0.03, 8.10, 1.18),
    Market("DE", "EUR", 2, 0.80, 0.01, 11.20, 1.02),
    Market("FR", "EUR", 1, 0.90, -0.01, 15.90, 0.97),
    Market("ES", "EUR", 1, 0.55, 0.02, 8.30, 0.92),
    Market("PL", "PLN", 1, 0.50, 0.06, 15.10, 0.84),
    Market("IN", "INR", 2, 1.10, 0.11, 12.40, 0.78),
    Market("JP", "JPY", 1, 0.60, 0.02, 5.40, 1.15),
    Market("TW", "TWD", 1, 0.75, 0.05, 6.20, 1.30),
    Market("AU", "AUD", 1, 0.65, 0.03, 53.10, 1.10),
    Market("CA", "CAD", 1, 0.60, 0.02, 7.50, 1.12),
    Market("GTR", "GBP", 1, 0.70, 0.07, 0.00, 1.05),  # global travel retail: duty-free
)

GBP_PER_UNIT = {
    "GBP": 1.0,
    "USD": 0.79,
    "EUR": 0.85,
    "PLN": 0.196,
    "INR": 0.0094,
    "JPY": 0.0053,
    "TWD": 0.0247,
    "AUD": 0.515,
    "CAD": 0.575,
}

WAREHOUSES = (
    ("W1", "Warehouse One", "dunnage"),
    ("W2", "Warehouse Two", "dunnage"),
    ("W3", "Warehouse Three", "racked"),
    ("W4", "Warehouse Four", "racked"),
    ("W5", "Warehouse Five", "palletised"),
)

BRAND_BY_ID = {brand.brand_id: brand for brand in BRANDS}
EXPRESSION_BY_ID = {expression.expression_id: expression for expression in EXPRESSIONS}

_TREES = (
    "Alder",
    "Birch",
    "Cedar",
    "Damson",
    "Elm",
    "Fir",
    "Gorse",
    "Hazel",
    "Ivy",
    "Juniper",
    "Larch",
    "Maple",
)
_TIERS = ("strategic", "core", "emerging")


@dataclass(frozen=True)
class Clock:
    """The months generated: from January, three years before the as-of date, on."""

    as_of: date

    @cached_property
    def months(self) -> list[date]:
        """First days of all generated months, in order."""
        first_year = self.as_of.year - YEARS_OF_HISTORY
        years = range(first_year, self.as_of.year + 1)
        firsts = (date(year, month, 1) for year in years for month in range(1, 13))
        return [first for first in firsts if month_end(first) <= self.as_of]

    @property
    def years(self) -> range:
        """Calendar years from the first month to the as-of date's."""
        return range(self.as_of.year - YEARS_OF_HISTORY, self.as_of.year + 1)


def month_end(first: date) -> date:
    """The last day of the month that begins on `first`."""
    return first.replace(day=calendar.monthrange(first.year, first.month)[1])


def loaded(day: date, days_later: int = 1) -> datetime:
    """When a record of that day arrives in the warehouse: by the nightly load, some days later."""
    return datetime.combine(day + timedelta(days=days_later), time(4))


def stream(seed: int, *names: object) -> random.Random:
    """A random stream of its own by name, so that changing one table leaves the others alone."""
    return random.Random(":".join(map(str, (seed, *names))))  # noqa: S311 data, not secrets


def distributors(seed: int, scale: int) -> list[Distributor]:
    """The partners; each unit of scale adds the same number of them to every market."""
    found: list[Distributor] = []
    for market in MARKETS:
        count = market.distributors * scale
        for position in range(count):
            number = len(found) + 1
            rng = stream(seed, "distributor", market.code, position)
            tree = _TREES[(number - 1) % len(_TREES)]
            found.append(
                Distributor(
                    distributor_id=f"D{number:04d}",
                    name=f"{tree} Example Imports {market.code} {position + 1}",
                    market=market,
                    tier=_TIERS[0] if position == 0 else _TIERS[1 + rng.randrange(2)],
                    appointed=date(2005 + rng.randrange(14), 1 + rng.randrange(12), 1),
                    target_days=(45, 60, 75, 90)[rng.randrange(4)],
                    terms_days=(30, 45, 60)[rng.randrange(3)],
                    share=(0.75 + 0.5 * rng.random()) / market.distributors,
                    discount=0.06 + 0.12 * rng.random(),
                    discipline=0.80 + 0.19 * rng.random(),
                    appetite=0.60 + 0.90 * rng.random(),
                    momentum=-0.09 + 0.14 * rng.random(),
                )
            )
    return found
