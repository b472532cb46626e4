"""Columns, rows and values of the real numpy, pandas and polars as prompts."""

from __future__ import annotations

from typing import Any

import numpy
import pandas
import polars
import pytest
from support.prompt_tools import prompts_of, refusal_of

from gigaclient.bulk.prompts import Prompts
from gigaclient.errors import ConfigError
from gigaclient.types.bulk import MapResult

PANDAS = pandas.DataFrame({"text": ["Good", "Bad"], "rating": [5, 1]})
POLARS = polars.DataFrame({"text": ["Good", "Bad"], "rating": [5, 1]})


COLUMNS = {
    "an array of numpy": numpy.array(["Good", "Bad"]),
    "objects in an array": numpy.array(["Good", "Bad"], dtype=object),
    "a column of pandas": PANDAS["text"],
    "strings of pandas": PANDAS["text"].astype("string"),
    "an index of pandas": pandas.Index(["Good", "Bad"]),
    "categories of pandas": PANDAS["text"].astype("category"),
    "a column of polars": POLARS["text"],
}


@pytest.mark.parametrize("column", COLUMNS.values(), ids=COLUMNS)
def test_a_column_is_a_list_of_prompts(column: Any) -> None:
    assert Prompts(column).total == 2
    texts = prompts_of(column)
    assert texts == ["Good", "Bad"]
    assert {type(text) for text in texts} == {str}
    assert prompts_of(column, "Sort: {}") == ["Sort: Good", "Sort: Bad"]


ROWS = {
    "records of pandas": PANDAS.to_dict("records"),
    "tuples of pandas": PANDAS.itertuples(),
    "series of pandas": (row for _, row in PANDAS.iterrows()),
    "records of polars": POLARS.to_dicts(),
    "named rows of polars": POLARS.iter_rows(named=True),
}


@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
def test_rows_have_fields_for_a_template(rows: Any) -> None:
    assert prompts_of(rows, "{rating}/5: {text}") == ["5/5: Good", "1/5: Bad"]


def test_a_row_without_a_template_is_refused_with_its_fields() -> None:
    for row in (PANDAS.iloc[0], next(PANDAS.itertuples(index=False)), next(POLARS.iter_rows(named=True))):
        assert "the fields text, rating: pass template=" in refusal_of(row)
        assert "no such field: it has text, rating" in refusal_of(row, "{txt}")


@pytest.mark.parametrize("row", [(7, "Good"), *POLARS.iter_rows()], ids=str)
def test_a_row_without_names_is_for_a_function(row: Any) -> None:
    assert "a row of 2 values: a function as template=" in refusal_of(row)


@pytest.mark.parametrize(
    ("table", "advice"),
    [
        (PANDAS, 'df.to_dict("records")'),
        (POLARS, "df.iter_rows(named=True)"),
        (POLARS.lazy(), "a LazyFrame is a table"),
        (PANDAS.groupby("text"), "an array of 2 dimensions"),
        (PANDAS.to_numpy(), "an array of 2 dimensions"),
        (numpy.array("Good"), "an array of 0 dimensions"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_table_is_no_list_of_prompts(table: Any, advice: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Prompts(table, "{text}")
    assert advice in str(caught.value)


@pytest.mark.parametrize(
    ("missing", "shown"),
    [
        (pandas.NA, "<NA>"),
        (pandas.NaT, "NaT"),
        (numpy.float64("nan"), "nan"),
        (numpy.float32("nan"), "nan"),
        (numpy.datetime64("NaT", "s"), "NaT"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_missing_value_is_refused(missing: Any, shown: str) -> None:
    assert f"the input is {shown}; leave such inputs out" in refusal_of(missing)
    assert f"the field value has no value ({shown})" in refusal_of({"value": missing}, "{value}")


def test_empty_cells_of_columns_are_refused_alone() -> None:
    for column in (
        pandas.Series(["Good", None]),
        pandas.Series(["Good", None], dtype="string"),
        polars.Series(["Good", None]),
    ):
        found = Prompts(column)
        good, empty = found
        assert found.prompt_for(good) == "Good"
        with pytest.raises(ConfigError, match="there is no prompt"):
            found.prompt_for(empty)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (numpy.str_("Good"), "Good"),
        (numpy.int64(5), "5"),
        (numpy.float32(0.5), "0.5"),
        (numpy.bool_(False), "false"),
        (numpy.array([1, 2]), "[1,2]"),
        (numpy.array([["a"], ["b"]]), '[["a"],["b"]]'),
        (pandas.Series([1, 2]), "[1,2]"),
        (polars.Series([1, 2]), "[1,2]"),
        ({"many": numpy.arange(2), "one": numpy.float64(0.5)}, '{"many":[0,1],"one":0.5}'),
        (pandas.Timestamp("2024-01-02"), "2024-01-02 00:00:00"),
        (pandas.Timedelta(minutes=5), "0 days 00:05:00"),
        (numpy.datetime64("2024-01-02"), "2024-01-02"),
    ],
    ids=lambda value: f"{type(value).__name__} {value}"[:40],
)
def test_values_are_formatted_for_people(value: Any, text: str) -> None:
    assert prompts_of([{"value": value}], "<{value}>") == [f"<{text}>"]


def test_results_are_rows_of_a_table() -> None:
    results = [
        MapResult(input="Good", index=0, value=5, seconds=0.5),
        MapResult(input="Bad", index=1, error=ConfigError("no")),
    ]
    for table in (pandas.DataFrame(results), pandas.DataFrame(iter(results))):
        assert list(table["input"]) == ["Good", "Bad"]
        assert list(table["error"]) == [None, "ConfigError: no"]
        assert sorted(table.columns) == sorted(results[0].keys())  # pandas sorts the names of mappings
    assert polars.DataFrame([result.to_dict() for result in results])["index"].to_list() == [0, 1]
