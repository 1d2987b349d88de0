"""The holdout, read in chunks: dtypes, tally and fingerprint do not depend on where a chunk ends."""

from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain.scoring import fingerprint
from retrain.scoring.count import tally
from retrain.scoring.holdout import chunks, survey
from retrain.scoring.plan import Comparison
from tests.effects.toy_models import Says


def plan(path: Path, chunk: int, **changes: Any) -> Comparison:
    given: dict[str, Any] = {
        "champion": None,
        "trusted": None,
        "challenger": "",
        "holdout": str(path),
        "target": "label",
        "dtypes": {},
        "jobs": 1,
    }
    return Comparison(**{**given, "chunk": chunk, **changes})


def whole(asked: Comparison) -> pd.DataFrame:
    """The chunks put together, after a look at the dtypes of each."""
    frames = list(chunks(survey(asked), asked.chunk))
    assert all((frame.dtypes == frames[0].dtypes).all() for frame in frames)
    return pd.concat(frames, ignore_index=True)


NUMBERS = st.sampled_from(["1", "-7", "2.5", "1e3", "007", "", "NA", "inf"])
TRUTHS = st.sampled_from(["True", "FALSE", "", "true"])
HUGE = st.sampled_from(["1", "-1", str(2**64)])
ANY = st.one_of(NUMBERS, TRUTHS, st.sampled_from(["x", " 1", "é"]))


@given(
    cells=st.one_of(*(st.lists(kind, min_size=1, max_size=9) for kind in (NUMBERS, TRUTHS, HUGE, ANY))),
    chunk=st.integers(1, 4),
)
@settings(deadline=None, max_examples=150)
def test_a_csv_is_typed_as_a_whole(tmp_path_factory: pytest.TempPathFactory, cells: list[str], chunk: int) -> None:
    """Whatever the chunks look like alone, values and dtypes are those of reading the whole file at once."""
    path = tmp_path_factory.mktemp("csv") / "holdout.csv"
    path.write_text("label,a\n" + "".join(f"1,{cell}\n" for cell in cells))
    pd.testing.assert_frame_equal(whole(plan(path, chunk)), pd.read_csv(path, low_memory=False))


@pytest.mark.parametrize("cells", [[str(2**63 + 5), "1"], [str(2**63 + 5), "-1"], [str(2**63 + 5), "1.5", ""]])
def test_identifiers_above_the_signed_range(tmp_path: Path, cells: list[str]) -> None:
    """64-bit hashes as identifiers are typed as a whole, too."""
    path = tmp_path / "holdout.csv"
    path.write_text("label,a\n" + "".join(f"1,{cell}\n" for cell in cells))
    pd.testing.assert_frame_equal(whole(plan(path, 1)), pd.read_csv(path))


def test_configured_dtypes_are_taken_as_they_are(tmp_path: Path) -> None:
    """Codes keep their zeros, categories are those of the whole column, in both formats."""
    path = tmp_path / "holdout.csv"
    path.write_text("label,zip,grade\n1,02138,b\n0,10001,a\n1,,c\n")
    dtypes = {"zip": "str", "grade": "category"}
    read = pd.read_csv(path, dtype=dtypes)
    pd.testing.assert_frame_equal(whole(plan(path, 1, dtypes=dtypes)), read)
    read.astype({"grade": "str"}).to_parquet(tmp_path / "holdout.parquet")
    pd.testing.assert_frame_equal(whole(plan(tmp_path / "holdout.parquet", 1, dtypes=dtypes)), read)


def test_a_parquet_is_typed_as_a_whole(tmp_path: Path) -> None:
    """An integer column with a null somewhere is one of floats everywhere; dictionaries are united."""
    grades = pa.chunked_array([pa.array(part).dictionary_encode() for part in (["b", "a"], ["c", None])])
    table = pa.table(
        {"label": [1, 0, 1, 0], "n": [1, 2, None, 4], "t": [True, None, False, True], "s": ["", None, "x", "y"]}
    ).append_column("grade", grades)
    path = tmp_path / "holdout.parquet"
    pyarrow.parquet.write_table(table, path, row_group_size=2)
    pd.testing.assert_frame_equal(whole(plan(path, 1)), pd.read_parquet(path))


def test_the_tally_does_not_depend_on_the_chunk_size(tmp_path: Path) -> None:
    """Cells, fingerprint and sketch are the same for any chunk size."""
    path = tmp_path / "holdout.csv"
    path.write_text("label,a,t\n" + "1,3,True\n0,x,\n0,2.5,False\n1,,True\n" * 3)
    joblib.dump(Says(1), tmp_path / "model")
    answers = [tally(plan(path, size, challenger=str(tmp_path / "model")), lambda _: None) for size in (1, 5, 100)]
    told = [(total.cells, total.sketch.tolist(), print_of) for total, print_of in answers]
    assert told[0] == told[1] == told[2]
    assert told[0][0] == {(1, None, 1): 6, (0, None, 1): 6}
    assert len(told[0][1]) == 4, "each of the different rows once"


def printed(frame: pd.DataFrame) -> str:
    return fingerprint.digest(fingerprint.of_rows(frame)[0], frame.columns, "label", len(frame))


TABLE = pd.DataFrame({"label": [1, 0, 1], "a": [0.0, 2.0, None], "s": ["x", None, "1"], "t": [True, None, False]})


@pytest.mark.parametrize(
    "same",
    [
        TABLE.iloc[::-1],
        TABLE[["t", "s", "label", "a"]],
        TABLE.astype({"label": "float64", "a": "Int64", "s": "category", "t": "boolean"}),
        TABLE.astype({"s": "object", "a": "object", "label": bool}),
        TABLE.assign(a=[-0.0, 2.0, np.nan]),
    ],
)
def test_the_fingerprint_sees_content_only(same: pd.DataFrame) -> None:
    """Order and dtypes do not change it; whether a number is held as integer, float or truth value neither."""
    assert printed(same) == printed(TABLE)


@pytest.mark.parametrize(
    "other",
    [
        TABLE.iloc[[0, 1, 2, 2]],
        TABLE.iloc[[0, 1, 2, 2, 2]],
        TABLE.iloc[:2],
        TABLE.assign(a=[0.0, 2.0, 3.0]),
        TABLE.assign(label=["1", "0", "1"]),
        TABLE.assign(s=["x", "1", np.nan]),
        TABLE.rename(columns={"a": "b"}),
        TABLE.rename(columns={"a": "s", "s": "a"}),
    ],
)
def test_the_fingerprint_sees_every_change_of_content(other: pd.DataFrame) -> None:
    """A row more (even a copy), a value, a type or a name that differs changes it."""
    assert printed(other) != printed(TABLE)
    assert len(printed(other)) == 32


def test_a_moment_is_the_same_beside_others() -> None:
    """pandas writes a day without its time only where all moments of a chunk are days: the fingerprint must not."""
    moments = pd.to_datetime(pd.Series(["2024-01-01 00:00:00", "2024-01-01 10:30:00", None]))
    together, alone = fingerprint.of_values(moments), fingerprint.of_values(moments[:1])
    assert together[0] == alone[0]
    assert together.tolist() == fingerprint.of_values(moments.astype(object)).tolist()


def test_both_lanes_of_the_fingerprint_differ_for_numbers() -> None:
    """pandas' hash key has no say in numbers; the second lane must not repeat the first."""
    (first, second), _ = fingerprint.of_rows(pd.DataFrame({"label": [1, 0], "a": [1.5, 2.5]}))
    assert first != second
