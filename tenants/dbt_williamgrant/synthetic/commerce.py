"""What is sold: prices, duties and rates; orders that distributors place; bottles that leave them for retail."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from datetime import date, timedelta

from .tables import Sink
from .world import (
    BRAND_BY_ID,
    BRANDS,
    EXPRESSION_BY_ID,
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
_CHANNELS = (("off_trade", 0.58), ("on_trade", 0.29), ("ecommerce", 0.13))


def write_reference(sink: Sink) -> None:
    """Master data that does not depend on the seed."""
    for brand in BRANDS:
        sink("brands", (brand.brand_id, brand.name, brand.category, date(brand.launched, 1, 1), brand.core))
    for item in EXPRESSIONS:
        launched = date(item.launched, 1, 1)
        sink(
            "expressions",
            (item.expression_id, item.brand_id, item.name, item.age, item.abv, item.ml, 6, launched),
        )
    for warehouse in WAREHOUSES:
        sink("warehouses", warehouse)


def fx_rate(seed: int, currency: str, month: date) -> str:
    """Pounds for one unit of a currency in a month: a slow wave and a little noise around its base."""
    if currency == "GBP":
        return "1.000000"
    rng = stream(seed, "fx", currency, month)
    phase = sum(map(ord, currency)) % 12
    wave = 0.04 * math.sin((month.year * 12 + month.month + phase) / 9)
    return f"{GBP_PER_UNIT[currency] * (1 + wave + 0.01 * (rng.random() - 0.5)):.6f}"


def list_price(seed: int, item: Expression, market: Market, year: int) -> float:
    """List price of a bottle in the market's currency: a rise every January, steeper for aged malt."""
    rng = stream(seed, "price", item.expression_id, market.code)
    rise = 1.02 + 0.02 * rng.random() + (0.012 if (item.age or 0) >= 12 else 0.0)
    local = item.price_gbp * market.price_index / GBP_PER_UNIT[market.currency]
    return round(local * (0.97 + 0.06 * rng.random()) * math.pow(rise, year - 2023), 2)


def duty_rate(market: Market, category: str, year: int) -> float:
    """Duty for a litre of pure alcohol in the market's currency; liqueurs pay less, rates rise by 2% a year."""
    relief = 0.8 if category == "LQ" else 1.0
    return round(market.duty_gbp_per_lpa * relief / GBP_PER_UNIT[market.currency] * math.pow(1.02, year - 2023), 2)


def write_rates(sink: Sink, seed: int, clock: Clock) -> None:
    """Price list, duty rates and exchange rates for every month and year generated."""
    for market in MARKETS:
        for item in EXPRESSIONS:
            for year in clock.years:
                rng = stream(seed, "price-update", item.expression_id, market.code, year)
                updated = loaded(date(year - 1, 11, 1) + timedelta(days=rng.randrange(40)))
                price_id = f"P-{item.expression_id}-{market.code}-{year}"
                price = list_price(seed, item, market, year)
                valid_from = date(year, 1, 1)
                sink(
                    "price_list",
                    (price_id, item.expression_id, market.code, market.currency, price, valid_from, updated),
                )
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
    """What a distributor carries: the big sellers always, the rest by chance; litres are for travel and on-trade."""
    carried = []
    for item in EXPRESSIONS:
        chance = 1.0 if item.monthly_bottles >= 200 else 0.85 if partner.tier == "strategic" else 0.5
        if stream(seed, "assortment", partner.distributor_id, item.expression_id).random() < chance:
            carried.append(item)
    return carried


def split(bottles: int, shares: tuple[tuple[str, float], ...]) -> list[tuple[str, int]]:
    """Divide bottles over channels so that the parts add up to the whole; the first channel takes the rest."""
    parts = [(channel, int(bottles * share)) for channel, share in shares[1:]]
    rest = bottles - sum(count for _, count in parts)
    return [(channel, count) for channel, count in [(shares[0][0], rest), *parts] if count > 0]


class _Ids:
    """Running numbers, one series a prefix."""

    def __init__(self) -> None:
        self._last: dict[str, int] = defaultdict(int)

    def next(self, prefix: str, width: int) -> str:
        self._last[prefix] += 1
        return f"{prefix}{self._last[prefix]:0{width}d}"


def write_sales(sink: Sink, seed: int, clock: Clock, partners: list[Distributor]) -> Shipped:
    """Shipments, depletions and stock counts of every distributor; returns what was shipped, for supply to cover."""
    shipped: Shipped = defaultdict(int)
    yearly: dict[tuple[str, str, int], float] = defaultdict(float)
    ids = _Ids()
    for partner in partners:
        market = partner.market
        sink(
            "distributors",
            (partner.distributor_id, partner.name, market.code, partner.tier, partner.appointed,
             partner.target_days, partner.terms_days),
        )  # fmt: skip
        _write_partner(sink, seed, clock, partner, ids, shipped, yearly)
    for (market_code, brand_id, year), litres in sorted(yearly.items()):
        ambition = 0.97 + 0.10 * stream(seed, "target", market_code, brand_id, year).random()
        sink("volume_targets", (market_code, brand_id, year, round(litres / 9 * ambition, 2)))
    return shipped


def _write_partner(
    sink: Sink,
    seed: int,
    clock: Clock,
    partner: Distributor,
    ids: _Ids,
    shipped: Shipped,
    yearly: dict[tuple[str, str, int], float],
) -> None:
    """One distributor, month by month: order up to the target, sell what there is, count once a quarter."""
    rng = stream(seed, "sales", partner.distributor_id)
    carried = assortment(seed, partner)
    start = clock.months[0]
    stock = {item.expression_id: 0 for item in carried}
    channels = (("travel_retail", 1.0),) if partner.market.code == "GTR" else _CHANNELS

    for item in carried:
        for year in clock.years:
            bottles_wanted = sum(expected_bottles(partner, item, date(year, m, 1), start) for m in range(1, 13))
            yearly[partner.market.code, item.brand_id, year] += bottles_wanted * item.ml / 1000

    for month in clock.months:
        order: list[tuple[Expression, int]] = []
        for item in carried:
            demand = expected_bottles(partner, item, month, start)
            cover = partner.target_days * partner.appetite
            target = demand * (cover / 30 + 1)  # the month's own sales, then the days of cover
            missing = target * (0.92 + 0.16 * rng.random()) - stock[item.expression_id]
            if missing > demand / 4:
                order.append((item, math.ceil(missing / 6) * 6))
        if order:
            _write_shipment(sink, seed, partner, ids, month, order, rng, "delivered")
            for item, bottles in order:
                stock[item.expression_id] += bottles
                shipped[item.expression_id, month] += bottles
            if rng.random() < 0.03:  # an order that was withdrawn: it must not count anywhere
                _write_shipment(sink, seed, partner, ids, month, order[:2], rng, "cancelled")
        for item in carried:
            wanted = expected_bottles(partner, item, month, start) * (0.82 + 0.36 * rng.random())
            sold = min(round(wanted), stock[item.expression_id])
            stock[item.expression_id] -= sold
            _write_depletions(sink, seed, partner, ids, month, item, sold, channels)
        if month.month % 3 == 0:
            for item in carried:
                held = stock[item.expression_id]
                counted = max(0, held - (rng.randrange(4) if rng.random() < 0.3 else 0))
                day = month_end(month)
                sink(
                    "stock_counts",
                    (ids.next("K", 6), partner.distributor_id, item.expression_id, day, counted, loaded(day, 4)),
                )


def _write_shipment(
    sink: Sink,
    seed: int,
    partner: Distributor,
    ids: _Ids,
    month: date,
    order: list[tuple[Expression, int]],
    rng: random.Random,
    status: str,
) -> None:
    """One shipment with its lines. Whatever happens on the way, it arrives within the month it was sent in."""
    sent = month + timedelta(days=1 + rng.randrange(8))
    promised = sent + timedelta(days=9)
    late = rng.random() > partner.discipline
    arrived = promised + timedelta(days=1 + rng.randrange(7)) if late else promised - timedelta(days=rng.randrange(4))
    delivered = arrived if status == "delivered" else None
    shipment_id = ids.next("S", 6)
    record = loaded(arrived)
    ordered = sent - timedelta(days=10 + rng.randrange(10))
    sink("shipments", (shipment_id, partner.distributor_id, ordered, promised, sent, delivered, status, record))
    promotion = 0.04 if month.month in (5, 11) else 0.0
    for item, bottles in order:
        price = list_price(seed, item, partner.market, month.year)
        invoiced = round(price * (1 - partner.discount - promotion), 2)
        line = (ids.next("L", 7), shipment_id, item.expression_id, bottles, invoiced, partner.market.currency, record)
        sink("shipment_lines", line)


def _write_depletions(
    sink: Sink,
    seed: int,
    partner: Distributor,
    ids: _Ids,
    month: date,
    item: Expression,
    sold: int,
    channels: tuple[tuple[str, float], ...],
) -> None:
    """A month's sales to retail, one row a channel. Retail pays the list price, a margin, and the duty."""
    brand = BRAND_BY_ID[EXPRESSION_BY_ID[item.expression_id].brand_id]
    duty = duty_rate(partner.market, brand.category, month.year) * item.bottle_lpa
    day = month_end(month)
    for channel, bottles in split(sold, channels):
        margin = 1.24 if channel == "on_trade" else 1.18
        price = list_price(seed, item, partner.market, month.year) * margin + duty
        sink(
            "depletions",
            (ids.next("X", 7), partner.distributor_id, item.expression_id, channel, day, bottles,
             round(bottles * price, 2), loaded(day, 3)),
        )  # fmt: skip
