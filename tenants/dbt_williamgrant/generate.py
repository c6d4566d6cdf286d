"""Write the williamgrant tenant's raw data: synthetic, deterministic, at any scale.

    python generate.py                        the data committed under data/
    python generate.py --scale 20 --out DIR   twenty times the distributors, sales and casks
    python generate.py --snowflake-sql        the statements that load data/ into schema RAW

Nothing here describes a real company, product or person. The same arguments give the
same bytes on every machine.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from synthetic.commerce import Sales, write_rates, write_reference
from synthetic.supply import Supply
from synthetic.tables import csv_sink, snowflake_sql
from synthetic.world import Clock, distributors

HERE = Path(__file__).resolve().parent
DEFAULT_SEED = 1887
DEFAULT_AS_OF = date(2026, 6, 30)
EARLIEST_AS_OF = date(1990, 1, 31)


def generate(
    out: Path, *, scale: int = 1, seed: int = DEFAULT_SEED, as_of: date = DEFAULT_AS_OF
) -> None:
    """Write one CSV file a raw table into `out`, for the world as it is known on `as_of`."""
    if scale < 1:
        raise ValueError(f"scale must be 1 or more, not {scale}")
    if as_of < EARLIEST_AS_OF:
        raise ValueError(f"as-of must be {EARLIEST_AS_OF} or later, not {as_of}")
    clock = Clock(as_of)
    with csv_sink(out) as sink:
        write_reference(sink)
        write_rates(sink, seed, clock)
        shipped = Sales(sink, seed, clock).write(distributors(seed, scale))
        Supply(sink, seed, clock).write(shipped)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description="Write the synthetic raw data as CSV files.")
    parser.add_argument("--scale", type=int, default=1, help="multiple of the committed data")
    parser.add_argument("--out", type=Path, default=HERE / "data", help="folder (default data/)")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help="random seed")
    parser.add_argument(
        "--as-of",
        type=date.fromisoformat,
        default=DEFAULT_AS_OF,
        help=f"the day on which the data is seen, YYYY-MM-DD (default {DEFAULT_AS_OF})",
    )
    parser.add_argument("--snowflake-sql", action="store_true", help="only print load_raw.sql")
    args = parser.parse_args(argv)
    if args.snowflake_sql:
        sys.stdout.write(snowflake_sql())
        return 0
    try:
        generate(args.out, scale=args.scale, seed=args.seed, as_of=args.as_of)
    except ValueError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
