"""What had to be made for it: bottling ahead of shipments, casks old enough, and casks in waiting.

Conservation holds throughout: a bottling holds no more alcohol than was drawn for it, a cask only
ever loses alcohol, and a still made at least what went into its casks.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from datetime import date, timedelta

from .commerce import Shipped
from .tables import Sink
from .world import BRAND_BY_ID, EXPRESSIONS, WAREHOUSES, Clock, Expression, loaded, stream

BATCH_BOTTLES = 4000  # what the bottling hall fills in one run
BOTTLING_LOSS = 0.012

# Up to which roll of the dice a cask is of a kind: its code, litres, and loss a year.
_KINDS = (
    (0.55, "HHD", 250.0, 0.019),
    (0.75, "BUT", 500.0, 0.017),
    (1.00, "BRL", 200.0, 0.022),
)


@dataclass
class Cask:
    """A cask from filling to emptying; the angels take the same share every year."""

    serial: int
    cask_type: str
    warehouse: str
    brand_id: str
    target_age: int
    filled: date
    bulk: float
    abv: float
    loss: float
    run: str | None = None  # the bottling run that emptied it
    emptied: date | None = None

    @property
    def fill_lpa(self) -> float:
        """Litres of pure alcohol when filled."""
        return round(self.bulk * self.abv / 100, 2)

    def lpa_on(self, day: date) -> float:
        """Litres of pure alcohol left on a day."""
        years = (day - self.filled).days / 365.25
        return round(self.fill_lpa * math.pow(1 - self.loss, years), 2)


def _years_before(day: date, years: int, extra_days: int) -> date:
    """A day at least `years` whole years and `extra_days` earlier."""
    return day.replace(year=day.year - years, day=min(day.day, 28)) - timedelta(days=extra_days)


class Supply:
    """Works back from what was shipped to what was bottled, matured and distilled."""

    def __init__(self, sink: Sink, seed: int, clock: Clock) -> None:
        self._sink = sink
        self._seed = seed
        self._clock = clock
        self._casks: list[Cask] = []
        self._spirit: dict[tuple[str, date], float] = defaultdict(
            float
        )  # unaged spirit by still and month
        self._runs = 0

    def write(self, shipped: Shipped) -> None:
        """Bottling, then casks in waiting, then the records of all casks."""
        for item in EXPRESSIONS:
            used = self._bottle(item, shipped)
            if item.cask_years is not None:
                self._lay_down(item, item.cask_years, used)
        self._write_casks()

    def _bottle(self, item: Expression, shipped: Shipped) -> int:
        """Bottle ahead of each quarter what it ships; returns the last year's casks emptied."""
        stock, used_lately = 0, 0
        months = self._clock.months
        for first in range(0, len(months), 3):
            quarter = months[first : first + 3]
            going = sum(shipped.get((item.expression_id, month), 0) for month in quarter)
            need = math.ceil(1.04 * going)
            while stock < need:
                rng = stream(self._seed, "bottling", item.expression_id, first, stock)
                day = months[first] - timedelta(days=25 + rng.randrange(20))
                bottles, casks = self._run(item, min(BATCH_BOTTLES, need - stock), day)
                stock += bottles
                used_lately += casks if first >= len(months) - 12 else 0
            stock -= going
        return used_lately

    def _run(self, item: Expression, wanted: int, day: date) -> tuple[int, int]:
        """One run of at least the bottles wanted: whole casks are emptied, so more may come out."""
        self._runs += 1
        run_id = f"R{self._runs:05d}"
        if item.cask_years is None:
            drawn = round(wanted * item.bottle_lpa / (1 - BOTTLING_LOSS) + 0.01, 2)
            still = BRAND_BY_ID[item.brand_id].distillery
            self._spirit[still, (day - timedelta(days=20)).replace(day=1)] += drawn
            row = (run_id, item.expression_id, day, wanted, drawn, loaded(day))
            self._sink("bottling_runs", row)
            return wanted, 0
        needed, drawn, casks = wanted * item.bottle_lpa / (1 - BOTTLING_LOSS), 0.0, 0
        while drawn < needed:
            rng = stream(self._seed, "draw", run_id, casks)
            filled = _years_before(day, item.cask_years, 15 + rng.randrange(250))
            cask = self._fill(item, item.cask_years, filled)
            cask.run, cask.emptied = run_id, day
            drawn = round(drawn + cask.lpa_on(day), 2)
            casks += 1
        bottles = math.floor(drawn * (1 - BOTTLING_LOSS) / item.bottle_lpa)
        row = (run_id, item.expression_id, day, bottles, drawn, loaded(day))
        self._sink("bottling_runs", row)
        return bottles, casks

    def _lay_down(self, item: Expression, years: int, used_lately: int) -> None:
        """Casks in waiting: for each year to come, about what a year's bottling empties."""
        growth = 1 + max(BRAND_BY_ID[item.brand_id].growth, 0.0)
        for back in range(years + 1):
            rng = stream(self._seed, "lay-down", item.expression_id, back)
            trend = math.pow(growth, (years - back) / 4)
            count = math.ceil(used_lately * (0.85 + 0.4 * rng.random()) * trend)
            for _ in range(count):
                days = back * 365 + rng.randrange(365)
                self._fill(item, years, self._clock.as_of - timedelta(days=1 + days))

    def _fill(self, item: Expression, years: int, filled: date) -> Cask:
        """A new cask of the kind that the brand likes."""
        serial = len(self._casks)
        rng = stream(self._seed, "cask", serial)
        pick = rng.random()
        _, kind, litres, loss = next(row for row in _KINDS if pick < row[0])
        warehouse, _, style = WAREHOUSES[rng.randrange(len(WAREHOUSES))]
        cask = Cask(
            serial=serial,
            cask_type=kind,
            warehouse=warehouse,
            brand_id=item.brand_id,
            target_age=years,
            filled=filled,
            bulk=round(litres * (0.955 + 0.04 * rng.random()), 2),
            abv=round(63.2 + 0.6 * rng.random(), 2),
            loss=loss * (0.85 + 0.3 * rng.random()) * (1.06 if style == "racked" else 1.0),
        )
        self._casks.append(cask)
        return cask

    def _write_casks(self) -> None:
        """Casks by date of filling, their gaugings and emptying, and the stills they came from."""
        distilled: dict[tuple[str, date], float] = defaultdict(float)
        gauges = 0
        by_filling = sorted(self._casks, key=lambda cask: (cask.filled, cask.serial))
        for number, cask in enumerate(by_filling, start=1):
            cask_id = f"C{number:06d}"
            still, month = BRAND_BY_ID[cask.brand_id].distillery, cask.filled.replace(day=1)
            distilled[still, month] += cask.fill_lpa
            kind = (cask.cask_type, cask.warehouse, cask.brand_id, cask.target_age)
            fill = (cask.filled, cask.bulk, cask.abv, cask.fill_lpa, loaded(cask.filled))
            self._sink("casks", (cask_id, _run_id(still, month), *kind, *fill))
            gauges = self._write_gauges(cask, cask_id, gauges)
            if cask.run is not None and cask.emptied is not None:
                day, left = cask.emptied, cask.lpa_on(cask.emptied)
                draw = (f"W-{cask_id}", cask.run, cask_id, day, left, loaded(day))
                self._sink("cask_draws", draw)
        for key, lpa in self._spirit.items():
            distilled[key] += lpa
        for (still, month), lpa in sorted(distilled.items()):
            rng = stream(self._seed, "still", still, month)
            produced = round(lpa * (1.004 + 0.012 * rng.random()), 2)
            wash = round(produced / (0.078 + 0.01 * rng.random()), 2)
            row = (_run_id(still, month), still, month, wash, produced, loaded(month))
            self._sink("distillation_runs", row)

    def _write_gauges(self, cask: Cask, cask_id: str, written: int) -> int:
        """Gaugings of one cask: after some three years, then every four to five."""
        rng = stream(self._seed, "gauge", cask.serial)
        last = cask.emptied or self._clock.as_of
        day = cask.filled + timedelta(days=900 + rng.randrange(400))
        while day < last:
            lpa = cask.lpa_on(day)
            years = (day - cask.filled).days / 365.25
            abv = round(cask.abv - 0.22 * years, 2)
            written += 1
            found = (round(lpa / abv * 100, 2), abv, lpa)
            self._sink("cask_gauges", (f"G{written:06d}", cask_id, day, *found, loaded(day, 2)))
            day += timedelta(days=1450 + rng.randrange(400))
        return written


def _run_id(still: str, month: date) -> str:
    return f"{still}-{month:%Y%m}"
