"""What is sold: prices, duties and rates; what distributors order, and what leaves for retail."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cache

from .tables import Sink
from .world import (
    BRAND_BY_ID,
    BRANDS,
    EXPRESSIONS,
    GBP_PER_UNIT,
    MARKETS,
    WAREHOUSES,
    Clock,
    Distributor,
    Expression,
    Market,
    loaded,
    month_end,
    stream,
)

Shipped = dict[tuple[str, date], int]  # bottles by expression and first day of the month

# Brown spirits peak before Christmas, gin and rum in summer.
_WINTER = (0.80, 0.78, 0.86, 0.90, 0.93, 0.95, 0.92, 0.93, 1.02, 1.15, 1.32, 1.44)
_SUMMER = (0.78, 0.80, 0.90, 0.98, 1.10, 1.22, 1.28, 1.20, 1.02, 0.90, 0.88, 0.94)
_SEASON = {"SM": _WINTER, "BL": _WINTER, "LQ": _WINTER, "GN": _SUMMER, "RM": _SUMMER}
_DOMESTIC = (("off_trade", 0.58), ("on_trade", 0.29), ("ecommerce", 0.13))
_TRAVEL = (("travel_retail", 1.0),)
_PRICE_BASE_YEAR = 2023
_PREMIUM_AGE = 12  # from this age on, prices rise faster
_BIG_SELLER = 200  # bottles a month from which every distributor carries an expression
_WITHDRAWN = 0.03  # share of orders after which another is placed and withdrawn
_MISCOUNTED = 0.3  # share of counts that find a few bottles fewer than the book


def write_reference(sink: Sink) -> None:
    """Master data that does not depend on the seed."""
    for brand in BRANDS:
        day = date(brand.launched, 1, 1)
        sink("brands", (brand.brand_id, brand.name, brand.category, day, brand.core))
    for item in EXPRESSIONS:
        day = date(item.launched, 1, 1)
        label = (item.name, item.age, item.abv, item.ml, 6, day)
        sink("expressions", (item.expression_id, item.brand_id, *label))
    for warehouse in WAREHOUSES:
        sink("warehouses", warehouse)


def fx_rate(seed: int, currency: str, month: date) -> str:
    """Pounds for one unit of a currency in a month: a slow wave and a little noise."""
    if currency == "GBP":
        return "1.000000"
    rng = stream(seed, "fx", currency, month)
    phase = sum(map(ord, currency)) % 12
    wave = 0.04 * math.sin((month.year * 12 + month.month + phase) / 9)
    return f"{GBP_PER_UNIT[currency] * (1 + wave + 0.01 * (rng.random() - 0.5)):.6f}"


@cache
def list_price(seed: int, item: Expression, market: Market, year: int) -> float:
    """List price of a bottle in local currency: a rise every January, steeper for aged malt."""
    rng = stream(seed, "price", item.expression_id, market.code)
    premium = 0.012 if (item.age or 0) >= _PREMIUM_AGE else 0.0
    rise = math.pow(1.02 + 0.02 * rng.random() + premium, year - _PRICE_BASE_YEAR)
    local = item.price_gbp * market.price_index / GBP_PER_UNIT[market.currency]
    return round(local * (0.97 + 0.06 * rng.random()) * rise, 2)


def duty_rate(market: Market, category: str, year: int) -> float:
    """Duty for a litre of pure alcohol in local currency: liqueurs pay less, 2% more a year."""
    relief = 0.8 if category == "LQ" else 1.0
    local = market.duty_gbp_per_lpa * relief / GBP_PER_UNIT[market.currency]
    return round(local * math.pow(1.02, year - _PRICE_BASE_YEAR), 2)


def write_rates(sink: Sink, seed: int, clock: Clock) -> None:
    """Price list, duty rates and exchange rates for every month and year generated."""
    for market in MARKETS:
        for item in EXPRESSIONS:
            for year in clock.years:
                rng = stream(seed, "price-update", item.expression_id, market.code, year)
                updated = loaded(date(year - 1, 11, 1) + timedelta(days=rng.randrange(40)))
                price_id = f"P-{item.expression_id}-{market.code}-{year}"
                price = list_price(seed, item, market, year)
                where = (item.expression_id, market.code, market.currency)
                sink("price_list", (price_id, *where, price, date(year, 1, 1), updated))
        for category in _SEASON:
            for year in clock.years:
                rate = duty_rate(market, category, year)
                duty_id = f"R-{market.code}-{category}-{year}"
                effective, updated = date(year, 1, 1), loaded(date(year - 1, 12, 1))
                sink("duty_rates", (duty_id, market.code, category, rate, effective, updated))
    for currency in GBP_PER_UNIT:
        for month in clock.months:
            sink("fx_rates", (currency, month, fx_rate(seed, currency, month), loaded(month)))


def expected_bottles(partner: Distributor, item: Expression, month: date, start: date) -> float:
    """Demand of retail on one distributor for one expression in a month, before chance."""
    brand = BRAND_BY_ID[item.brand_id]
    years = (month.year - start.year) + (month.month - start.month) / 12
    trend = math.pow(1 + brand.growth + partner.market.growth + partner.momentum, years)
    season = _SEASON[brand.category][month.month - 1]
    return item.monthly_bottles * partner.market.size * partner.share * season * trend


def assortment(seed: int, partner: Distributor) -> list[Expression]:
    """What a distributor carries: the big sellers always, the rest by chance."""
    by_chance = 0.85 if partner.tier == "strategic" else 0.5
    carried = []
    for item in EXPRESSIONS:
        chance = 1.0 if item.monthly_bottles >= _BIG_SELLER else by_chance
        rng = stream(seed, "assortment", partner.distributor_id, item.expression_id)
        if rng.random() < chance:
            carried.append(item)
    return carried


def split(bottles: int, shares: Sequence[tuple[str, float]]) -> list[tuple[str, int]]:
    """Divide bottles over channels: the parts add up, the first channel takes the rest."""
    parts = [(channel, int(bottles * share)) for channel, share in shares[1:]]
    rest = bottles - sum(count for _, count in parts)
    return [(channel, count) for channel, count in [(shares[0][0], rest), *parts] if count > 0]


@dataclass
class Sales:
    """Shipments, depletions and stock counts of distributors, written one partner at a time."""

    sink: Sink
    seed: int
    clock: Clock
    shipped: Shipped = field(default_factory=lambda: defaultdict(int))
    _yearly: dict[tuple[str, str, int], float] = field(default_factory=lambda: defaultdict(float))
    _ids: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def write(self, partners: list[Distributor]) -> Shipped:
        """Everything; returns what was shipped, for supply to cover."""
        for partner in partners:
            who = (partner.distributor_id, partner.name, partner.market.code, partner.tier)
            terms = (partner.appointed, partner.target_days, partner.terms_days)
            self.sink("distributors", (*who, *terms))
            self._partner(partner)
        for key, litres in sorted(self._yearly.items()):
            ambition = 0.97 + 0.10 * stream(self.seed, "target", *key).random()
            self.sink("volume_targets", (*key, round(litres / 9 * ambition, 2)))
        return self.shipped

    def _next_id(self, prefix: str, width: int) -> str:
        self._ids[prefix] += 1
        return f"{prefix}{self._ids[prefix]:0{width}d}"

    def _partner(self, partner: Distributor) -> None:
        """One distributor, month by month: order, sell what there is, count once a quarter."""
        rng = stream(self.seed, "sales", partner.distributor_id)
        carried = assortment(self.seed, partner)
        stock = {item.expression_id: 0 for item in carried}
        self._add_year_demand(partner, carried)
        for month in self.clock.months:
            order = self._order(partner, carried, stock, month, rng)
            if order:
                self._shipment(partner, month, order, "delivered", rng)
                for item, bottles in order:
                    stock[item.expression_id] += bottles
                    self.shipped[item.expression_id, month] += bottles
                if rng.random() < _WITHDRAWN:  # must not count anywhere
                    self._shipment(partner, month, order[:2], "cancelled", rng)
            for item in carried:
                wanted = self._expected(partner, item, month) * (0.82 + 0.36 * rng.random())
                sold = min(round(wanted), stock[item.expression_id])
                stock[item.expression_id] -= sold
                self._depletions(partner, month, item, sold)
            if month.month % 3 == 0:
                self._counts(partner, month, stock, rng)

    def _expected(self, partner: Distributor, item: Expression, month: date) -> float:
        return expected_bottles(partner, item, month, self.clock.months[0])

    def _add_year_demand(self, partner: Distributor, carried: list[Expression]) -> None:
        """Whole years of expected demand, in litres: what targets are set from."""
        for item in carried:
            for year in self.clock.years:
                months = (date(year, month, 1) for month in range(1, 13))
                bottles = sum(self._expected(partner, item, month) for month in months)
                key = (partner.market.code, item.brand_id, year)
                self._yearly[key] += bottles * item.ml / 1000

    def _order(
        self,
        partner: Distributor,
        carried: list[Expression],
        stock: dict[str, int],
        month: date,
        rng: random.Random,
    ) -> list[tuple[Expression, int]]:
        """Whole cases up to the cover the partner wants, after the month's own sales."""
        order: list[tuple[Expression, int]] = []
        cover_months = partner.target_days * partner.appetite / 30 + 1
        for item in carried:
            demand = self._expected(partner, item, month)
            wanted = demand * cover_months * (0.92 + 0.16 * rng.random())
            missing = wanted - stock[item.expression_id]
            if missing > demand / 4:
                order.append((item, math.ceil(missing / 6) * 6))
        return order

    def _shipment(
        self,
        partner: Distributor,
        month: date,
        order: list[tuple[Expression, int]],
        status: str,
        rng: random.Random,
    ) -> None:
        """One shipment with its lines. Whatever happens on the way, it arrives within its month."""
        sent = month + timedelta(days=1 + rng.randrange(8))
        promised = sent + timedelta(days=9)
        late = rng.random() > partner.discipline
        delay = 1 + rng.randrange(7) if late else -rng.randrange(4)
        arrived = promised + timedelta(days=delay)
        ordered = sent - timedelta(days=10 + rng.randrange(10))
        delivered = arrived if status == "delivered" else None
        shipment_id, record = self._next_id("S", 6), loaded(arrived)
        days = (ordered, promised, sent, delivered)
        self.sink("shipments", (shipment_id, partner.distributor_id, *days, status, record))
        promotion = 0.04 if month.month in (5, 11) else 0.0
        for item, bottles in order:
            price = list_price(self.seed, item, partner.market, month.year)
            invoiced = round(price * (1 - partner.discount - promotion), 2)
            line = (self._next_id("L", 7), shipment_id, item.expression_id, bottles, invoiced)
            self.sink("shipment_lines", (*line, partner.market.currency, record))

    def _depletions(self, partner: Distributor, month: date, item: Expression, sold: int) -> None:
        """A month's sales to retail by channel. Retail pays list price, a margin, and the duty."""
        category = BRAND_BY_ID[item.brand_id].category
        duty = duty_rate(partner.market, category, month.year) * item.bottle_lpa
        price = list_price(self.seed, item, partner.market, month.year)
        day = month_end(month)
        for channel, bottles in split(sold, _TRAVEL if partner.market.code == "GTR" else _DOMESTIC):
            value = round(bottles * (price * (1.24 if channel == "on_trade" else 1.18) + duty), 2)
            row = (partner.distributor_id, item.expression_id, channel, day, bottles, value)
            self.sink("depletions", (self._next_id("X", 7), *row, loaded(day, 3)))

    def _counts(
        self, partner: Distributor, month: date, stock: dict[str, int], rng: random.Random
    ) -> None:
        """A quarter's stock count: now and then a few bottles are not where the book has them."""
        day = month_end(month)
        for expression_id, held in stock.items():
            lost = rng.randrange(4) if rng.random() < _MISCOUNTED else 0
            counted = (partner.distributor_id, expression_id, day, max(0, held - lost))
            self.sink("stock_counts", (self._next_id("K", 6), *counted, loaded(day, 4)))
