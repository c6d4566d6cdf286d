"""The synthetic world behind the williamgrant tenant's raw data: invented brands, casks and sales.

One direction: ``tables`` (what a raw table is) → ``world`` (who and what exists) → ``commerce``
(what is sold) → ``supply`` (what had to be distilled, matured and bottled for it).
"""
