"""Columns of CSV samples."""

import pytest

from worker.attributes.csv_columns import MAX_COLUMNS, MAX_NAME_LENGTH, CsvShape, read_columns


def expected_shape(text: str, *, whole: bool = True) -> CsvShape:
    shape = read_columns(text, whole=whole, expected=True)
    assert shape is not None
    return shape


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_and_the_names_are_found(delimiter: str) -> None:
    text = "id,name,city\n1,Ann,Oslo\n2,Bob,Rome\n".replace(",", delimiter)

    assert expected_shape(text) == CsvShape(delimiter, True, 3, ("id", "name", "city"))


def test_decimal_commas_do_not_hide_semicolons() -> None:
    assert expected_shape("a;b\n1,5;2,5\n3,5;4\n").delimiter == ";"


def test_quoted_delimiters_and_line_breaks_belong_to_the_name() -> None:
    shape = expected_shape('"last, first","two\nlines",c\n"x, y",2,3\n')

    assert shape.columns == ("last, first", "twolines", "c")


@pytest.mark.parametrize(
    "text",
    ["1,2\n3,4\n", "x,x\n1,2\n", "a,\n1,2\n", "2024-01-02,b\n2024-01-03,c\n", "yes,no\nyes,yes\n"],
)
def test_a_first_row_of_values_is_no_header(text: str) -> None:
    shape = expected_shape(text)

    assert (shape.has_header, shape.columns, shape.column_count) == (False, (), 2)


def test_an_unnamed_index_column_does_not_hide_the_header() -> None:
    assert expected_shape(",name\n0,Ann\n1,Bob\n").columns == ("", "name")


def test_a_single_column_has_no_delimiter() -> None:
    assert expected_shape("id\n1\n2\n") == CsvShape(None, True, 1, ("id",))


def test_the_row_cut_by_the_end_of_the_sample_does_not_count() -> None:
    assert expected_shape("a,b,c\n1,2,3\n4,", whole=False).column_count == 3


def test_a_header_cut_by_the_end_of_the_sample_is_not_guessed() -> None:
    assert read_columns("one,two,thr", whole=False, expected=True) is None


def test_names_are_bounded_in_number_and_length() -> None:
    header = ",".join(f"c{n}" + "x" * 20 for n in range(MAX_COLUMNS + 5)) + "\n"

    wide = expected_shape(header)
    long = expected_shape("n" * 1000 + ",b\n1,2\n")

    assert (len(wide.columns), wide.column_count) == (MAX_COLUMNS, MAX_COLUMNS + 5)
    assert len(long.columns[0]) == MAX_NAME_LENGTH


def test_control_characters_do_not_reach_the_names() -> None:
    assert expected_shape("a\0b,\x1b[31mred\n1,2\n").columns == ("ab", "[31mred")


def test_regular_rows_are_csv_without_any_claim() -> None:
    shape = read_columns("a,b\n1,2\n3,4\n", whole=True, expected=False)

    assert shape is not None
    assert shape.delimiter == ","


@pytest.mark.parametrize(
    "text",
    [
        "Dear Ann, hello\nDear Bob, hello\nDear Eve, hello\n",
        "int a;\nint b;\nint c;\n",
        "| a | b |\n| - | - |\n| 1 | 2 |\n",
        "a,b\n1,2\n",
        "a,b\n1,2\n3\n",
    ],
)
def test_prose_and_program_text_are_not_csv_without_a_claim(text: str) -> None:
    assert read_columns(text, whole=True, expected=False) is None
