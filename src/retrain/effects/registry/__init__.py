"""Versions and the champion link: immutable files named by their SHA-256, and one relative symlink to one of them."""

from retrain.effects.registry.champion import Served, adopt, point, served
from retrain.effects.registry.versions import (
    admit,
    check_format,
    find,
    forget,
    forget_rows,
    identify,
    keep_rows,
    kept,
    make_room,
    reference_beside,
    refuse_open_doors,
    rows_of,
    verify,
)

__all__ = [
    "Served",
    "admit",
    "adopt",
    "check_format",
    "find",
    "forget",
    "forget_rows",
    "identify",
    "keep_rows",
    "kept",
    "make_room",
    "point",
    "reference_beside",
    "refuse_open_doors",
    "rows_of",
    "served",
    "verify",
]
