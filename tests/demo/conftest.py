"""The demo's world, lived through once: a clean day, the drift, a worn day, and a training at each end."""

import os
from contextlib import chdir, redirect_stdout
from dataclasses import dataclass
from datetime import date
from io import StringIO
from typing import Any
from unittest.mock import patch

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
    given: pd.DataFrame
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
        history = pd.read_csv("data/history.csv")
        with redirect_stdout(StringIO()) as said:
            train.main()
        clean_holdout = pd.read_parquet("models/challenger.holdout.parquet")
        champion, champion_reference = joblib.load(challenger), pd.read_parquet(reference)
        challenger.rename(here / "models/champion.joblib")
        say("day")
        say("drift")
        say("day")
        log = pd.read_csv("data/predictions.csv")
        worn_holdout = log.tail(world.PER_DAY).sample(train.LEFT_OUT, random_state=1)
        given = log.drop(worn_holdout.index).drop(columns="prediction")
        given.to_parquet("given.parquet")
        with patch.dict(os.environ, {"RETRAIN_TRAINING": "given.parquet"}):
            train.main()
        return Story(
            history=history,
            log=log,
            given=given,
            clean_holdout=clean_holdout,
            worn_holdout=worn_holdout,
            champion=champion,
            challenger=joblib.load(challenger),
            champion_reference=champion_reference,
            challenger_reference=pd.read_parquet(reference),
            said=said.getvalue(),
        )
