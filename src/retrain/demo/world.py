"""A scanner that reads handwritten digits, and a service that says whether each is odd.

The images are scikit-learn's `load_digits`: 1,797 real scans of 8 × 8 pixels, each 0–16. They are dealt once:
some are the history of before the first model, the others pass the service day by day.

    python -m retrain.demo.world start    the labelled history of a clean scanner, in data/
    python -m retrain.demo.world day      the champion serves one day of scans; then they are labelled
    python -m retrain.demo.world drift    the lamp fades and the glass gets dirty, from the next day on
"""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import joblib
import numpy as np
import pandas as pd
from msgspec import Struct, json
from msgspec.structs import replace
from sklearn.datasets import load_digits

from retrain.demo import DATA, HISTORY, MARKER, MODELS, PREDICTIONS, STATE
from retrain.errors import RetrainError

PIXELS = [f"p{row}{column}" for row in range(8) for column in range(8)]
LOG = ["timestamp", "prediction", "label", *PIXELS]
PER_DAY = 599
SEED = 3

LAMP = 0.45
"""Share of its light that the faded lamp still gives."""
SMEAR = np.zeros((8, 8))
SMEAR[1:4, 2:5] = 12
"""Grey levels that the dirt on the glass adds, always at the same place."""
NOISE = 0.75
"""Standard deviation of the sensor's noise in grey levels, once its gain is turned up."""


class World(Struct, frozen=True):
    """The state of the demo: the day that passes next, how many have passed, and whether the scanner is worn."""

    next: date
    days: int = 0
    worn: bool = False


# ---------------------------------------------------------------- the scanner


def deal() -> dict[str, pd.DataFrame]:
    """The images and their labels (1: odd), dealt into `history` and `live`; no image is in both."""
    images, digits = load_digits(return_X_y=True)
    order = np.random.default_rng(SEED).permutation(len(images))
    dealt = pd.DataFrame(images[order].astype(int), columns=PIXELS).assign(label=digits[order] % 2)
    return {"history": dealt[:PER_DAY], "live": dealt[PER_DAY:]}


def scan(sheets: pd.DataFrame, worn: bool, noise: np.random.Generator) -> pd.DataFrame:
    """The sheets as the scanner sees them: whole grey levels from 0 to 16. A clean one sees them as they are."""
    light = sheets[PIXELS].to_numpy()
    if worn:
        light = LAMP * light + SMEAR.ravel() + noise.normal(0, NOISE, light.shape)
    seen = np.clip(np.rint(light), 0, 16).astype(int)
    return pd.DataFrame(seen, columns=PIXELS).assign(label=sheets["label"].to_numpy())


def scans_of_day(world: World) -> pd.DataFrame:
    """What passes the service on the world's next day, with timestamps.

    Two days see new images. Then they come round again, so a champion trained on them looks better than it is.
    """
    live = deal()["live"]
    first = world.days * PER_DAY % len(live)
    noise = np.random.default_rng([SEED, world.days])
    return stamped(scan(live[first : first + PER_DAY], world.worn, noise), world.next)


def stamped(scans: pd.DataFrame, day: date) -> pd.DataFrame:
    """The scans with a `timestamp` in front, spread evenly over the day in UTC."""
    seconds = timedelta(days=1) / len(scans)
    times = [(_midnight(day) + number * seconds).isoformat() for number in range(len(scans))]
    return pd.concat([pd.Series(times, index=scans.index, name="timestamp"), scans], axis=1)


# ---------------------------------------------------------------- its days


def start(today: date) -> str:
    """Write history and an empty log, as of three days before `today`; return what was written."""
    if DATA.exists():
        raise RetrainError(f"{DATA}/ exists already; remove what an earlier demo left: rm -r {DATA} {MODELS} {STATE}")
    world = World(next=today - timedelta(days=2))
    history = stamped(deal()["history"], world.next - timedelta(days=1))
    DATA.mkdir()
    _save(world)
    history.to_csv(HISTORY, index=False)
    pd.DataFrame(columns=LOG).to_csv(PREDICTIONS, index=False)
    return f"{len(history)} labelled scans in {HISTORY}, and an empty log, {PREDICTIONS}"


def day() -> str:
    """Let the champion serve a day, log and label its scans; return how it did."""
    world = _load()
    if _midnight(world.next + timedelta(days=1)) > datetime.now(UTC):
        raise RetrainError(f"{world.next} is not over yet (in UTC); a monitor looks at whole days")
    champion = MODELS / "champion.joblib"
    if not champion.exists():
        raise RetrainError(f"{champion} is missing: no model serves. Train and promote a first one")
    live = scans_of_day(world)
    predictions = joblib.load(champion).predict(live[PIXELS])
    live.assign(prediction=predictions)[LOG].to_csv(PREDICTIONS, mode="a", header=False, index=False)
    _save(replace(world, next=world.next + timedelta(days=1), days=world.days + 1))
    wrong = (predictions != live["label"]).sum()
    return f"{world.next}: {len(live)} scans served, {wrong} of them wrongly; all are labelled"


def drift() -> str:
    """Wear the scanner out, which the next day shows; return what happened to it."""
    _save(replace(_load(), worn=True))
    return f"the lamp gives {LAMP:.0%} of its light, and there is a smear on the glass"


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _save(world: World) -> None:
    MARKER.write_bytes(json.encode(world))


def _load() -> World:
    try:
        return json.decode(MARKER.read_bytes(), type=World)
    except FileNotFoundError:
        raise RetrainError(f"there is no {MARKER} here; begin with: python -m retrain.demo.world start") from None


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code of one verb."""
    parser = argparse.ArgumentParser(prog="python -m retrain.demo.world", description="The scanner of make demo.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    starting = verbs.add_parser("start", help="write the labelled history of a clean scanner")
    starting.add_argument("--today", type=date.fromisoformat, default=datetime.now(UTC).date(), metavar="YYYY-MM-DD")
    verbs.add_parser("day", help="let the champion serve one day of scans")
    verbs.add_parser("drift", help="let the lamp fade and the glass get dirty")
    chosen = parser.parse_args(arguments)
    try:
        print(start(chosen.today) if chosen.verb == "start" else {"day": day, "drift": drift}[chosen.verb]())
    except RetrainError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
