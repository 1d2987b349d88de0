"""The demo's world, lived through once: a clean day, the drift, a worn day, and a training at each end."""

from contextlib import chdir, redirect_stdout
from dataclasses import dataclass
from datetime import date
from io import StringIO
from typing import Any

import joblib
import pandas as pd
import pytest

from retrain.demo import train, world

TODAY = date(2026, 3, 14)


@dataclass(frozen=True)
class Story:
    """What was in the files at each stage."""

    history: pd.DataFrame
    log: pd.DataFrame
    training: pd.DataFrame
    clean_holdout: pd.DataFrame
    worn_holdout: pd.DataFrame
    champion: Any
    challenger: Any
    champion_reference: pd.DataFrame
    challenger_reference: pd.DataFrame
    said: str


def say(verb: str, *flags: str) -> None:
    """Let the world do something in the current directory."""
    assert world.main([verb, *flags]) == 0


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """The story of the tour, without the commands of retrain: the first challenger is put in service by hand."""
    here = tmp_path_factory.mktemp("story")
    challenger, reference = here / "models/challenger.joblib", here / "models/challenger.reference.parquet"
    with chdir(here):
        say("start", "--today", TODAY.isoformat())
        history, clean_holdout = pd.read_csv("data/training.csv"), pd.read_csv("data/holdout.csv")
        with redirect_stdout(StringIO()) as said:
            train.main()
        champion, champion_reference = joblib.load(challenger), pd.read_parquet(reference)
        challenger.rename(here / "models/champion.joblib")
        say("day")
        say("drift")
        say("day")
        train.main()
        return Story(
            history=history,
            log=pd.read_csv("data/predictions.csv"),
            training=pd.read_csv("data/training.csv"),
            clean_holdout=clean_holdout,
            worn_holdout=pd.read_csv("data/holdout.csv"),
            champion=champion,
            challenger=joblib.load(challenger),
            champion_reference=champion_reference,
            challenger_reference=pd.read_parquet(reference),
            said=said.getvalue(),
        )
