"""Patient tables from CSV, and what is said of bad ones."""

import numpy as np
import pytest

from thrombojax.errors import InputError
from thrombojax.study import tables

NAMES = {"platelets.life", "platelets.rate", "receptor.rate", "weight"}


def read(tmp_path, text, n=None):
    path = tmp_path / "t.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return tables.load(path, NAMES, n)


def test_a_good_table(tmp_path):
    table = read(tmp_path, "\ufeffID, life ,weight\r\nanna, 9.5 ,70\r\nbo,8e0,80.25\r\n\r\n")
    assert table.ids == ("anna", "bo")
    assert list(table.columns) == ["platelets.life", "weight"]
    np.testing.assert_array_equal(table.columns["weight"], [70, 80.25])
    assert table.columns["platelets.life"].dtype == np.float64


def test_the_first_n_rows_and_ids_of_its_own(tmp_path):
    table = read(tmp_path, "weight\n70\n80\n90\n", n=2)
    assert table.ids == ("1", "2")
    assert len(table) == 2
    np.testing.assert_array_equal(table.columns["weight"], [70, 80])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "t.csv: is empty; needed: a header"),
        ("\n \n", "t.csv: is empty; needed: a header"),
        ("weight\n", "t.csv: has a header but no patients"),
        ("id\n1\n", "row 1: has no column but id"),
        ("wieght\n70\n", "row 1, column 1: unknown column 'wieght'; allowed: platelets.life, "),
        ("wieght\n70\n", "did you mean 'weight'?"),
        ("weight,rate\n70,1\n", "row 1, column 2: 'rate' may be any of platelets.rate, receptor.rate"),
        ("weight,\n70,1\n", "row 1, column 2: has no name"),
        ("life,platelets.life\n9,9\n", "row 1, column 2: 'platelets.life' repeats the column 'life'"),
        ("id,weight\n1,\n", "row 2, column 'weight': is missing; needed: a finite number"),
        ("id,weight\n1,NA\n", "row 2, column 'weight': is missing; needed: a finite number"),
        ("id,weight\n1,7O\n", "row 2, column 'weight': given '7O'; needed: a finite number"),
        ("id,weight\n1,inf\n", "row 2, column 'weight': given 'inf'; needed: a finite number"),
        ("id,weight\n1,1_0\n", "row 2, column 'weight': given '1_0'; needed: a finite number"),
        ("id,weight\n1,70\n2\n", "row 3: has 1 cells; the header has 2"),
        ("id,weight\n1,70\n2,80,9\n", "row 3: has 3 cells; the header has 2"),
        ("id,weight\n1,70\n2,80\n1,90\n", "row 4, column 'id': '1' is the id of row 2 already"),
        ("id,weight\n,70\n", "row 2, column 'id': is missing; needed: an id"),
        ("id;weight\n1;70,5\n", "row 1: has no commas"),
        (b"weight\n\xff\n", "t.csv: is not a text file in UTF-8"),
        ('weight\n"70\n', "t.csv: is not a CSV file"),
    ],
)
def test_a_bad_table(tmp_path, text, said):
    with pytest.raises(InputError) as caught:
        read(tmp_path, text)
    assert said in str(caught.value)
    assert all(str(problem).startswith(str(tmp_path / "t.csv")) for problem in caught.value.problems)


def test_everything_at_once_but_not_endlessly(tmp_path):
    with pytest.raises(InputError) as caught:
        read(tmp_path, "id,wieght,life\n" + "".join(f"{i},x,y\n" for i in range(100)))
    assert len(caught.value.problems) == 21
    assert "wieght" in str(caught.value.problems[0])
    assert str(caught.value.problems[-1]).endswith("and 81 more")


def test_more_patients_than_rows(tmp_path):
    with pytest.raises(InputError, match="has 2 patients; the study's n asks for 3"):
        read(tmp_path, "weight\n70\n80\n", n=3)


def test_no_file(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        tables.load(tmp_path / "none.csv", NAMES)
