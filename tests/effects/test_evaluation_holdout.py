"""The holdout, read in chunks: what is counted does not depend on where a chunk ends."""

from pathlib import Path
from typing import Any

import joblib
import pandas as pd
import pytest

from tests.effects.toy_models import Says
from tests.scoring import scored


def answer(here: Path, holdout: Path, chunk: int) -> dict[str, Any]:
    joblib.dump(Says(1), here / "model")
    plan = {"job": "compare", "challenger": str(here / "model"), "holdout": str(holdout), "champion": None}
    return scored({**plan, "target": "label", "dtypes": {}, "chunk": chunk})


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_the_tally_does_not_depend_on_the_chunk_size(tmp_path: Path, suffix: str) -> None:
    """Cells, fingerprint and sketch are the same for any chunk size, in both formats."""
    path = tmp_path / f"holdout.{suffix}"
    (tmp_path / "holdout.csv").write_text("label,a,t\n" + "1,3,True\n0,x,\n0,2.5,False\n1,,True\n" * 3)
    if suffix == "parquet":
        pd.read_csv(tmp_path / "holdout.csv").to_parquet(path, row_group_size=2)
    answers = [answer(tmp_path, path, size) for size in (1, 5, 100)]
    assert answers[0] == answers[1] == answers[2]
    assert answers[0]["cells"] == [[0, None, 1, 6], [1, None, 1, 6]]
    assert answers[0]["holdout"] == "9a5e11ac0d9f6eab29cba70e6d78a0ab"
    assert len(answers[0]["sketches"][0]["hashes"]) == 4, "each of the different rows once"
