import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from mer_pipeline.base.csv_files import check_label, known, present, read_csv, read_header, read_label
from mer_pipeline.base.errors import DatasetError

ROWS = [{"name": "a", "label": "happy"}, {"name": "b", "label": "sad"}]


def rows(path: Path, data: bytes | str, columns: Sequence[str] = ("name", "label")) -> list[dict[str, str]]:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return [dict(row) for row in read_csv(path, columns)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_what_spreadsheets_save(tmp_path: Path, encoding: str, end: str, delimiter: str) -> None:
    """A mark at the beginning says the encoding, and the header says what parts the cells."""
    text = end.join(line.replace(",", delimiter) for line in ("name,label", "a,happy", "", "b,sad", ""))
    assert rows(tmp_path / "x.csv", text.encode(encoding)) == ROWS


def test_the_other_byte_order(tmp_path: Path) -> None:
    """UTF-16 with the high byte first."""
    assert rows(tmp_path / "x.csv", "\ufeffname,label\na,happy\nb,sad\n".encode("utf-16-be")) == ROWS


def test_a_comma_in_the_header_decides(tmp_path: Path) -> None:
    """Semicolons in cells or in a quoted column are text where commas part the columns."""
    found = rows(tmp_path / "x.csv", 'name,label,"a;b;c"\na,happy;x,1\n')
    assert found == [{"name": "a", "label": "happy;x", "a;b;c": "1"}]
    assert rows(tmp_path / "x.csv", 'name;label;"a,b"\na;happy, x;1\n') == [
        {"name": "a", "label": "happy, x", "a,b": "1"}
    ]


def test_excel_names_its_delimiter(tmp_path: Path) -> None:
    """The line `sep=` is no header; lines are still counted from the file's beginning."""
    assert rows(tmp_path / "x.csv", "sep=;\nname;label\na;happy\nb;sad\n") == ROWS
    with pytest.raises(DatasetError, match="line 4: a name is empty"):
        rows(tmp_path / "x.csv", "sep=;\nname;label\na;happy\n;sad\n")


@pytest.mark.outcome(
    "a CSV in an encoding that nothing says",
    "the line, the encoding that is probable, and how to save the file",
)
@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("name,label\na,很好，高兴\n".encode("gbk"), "is not UTF-8 (line 2), and probably GBK; save it as 'CSV UTF-8'"),
        ("name,label\na,b\nc,événement\n".encode("cp1252"), "is not UTF-8 (line 3), and probably cp1252; save it"),
        ("name,label\na,happy\n".encode("utf-16-le"), "(it has zero bytes); save it as 'CSV UTF-8'"),
        (b"PK\x03\x04\xff\xfe\x80", "is a workbook and no CSV; save it as 'CSV UTF-8'"),
        ("\ufeffname,label\na,happy\n".encode("utf-16-le")[:-1], "is not UTF-8"),
    ],
)
def test_an_encoding_is_never_guessed(tmp_path: Path, data: bytes, says: str) -> None:
    """A wrong guess would change names silently; the sentence says what the file probably is, and what to do."""
    with pytest.raises(DatasetError, match=re.escape(says)) as caught:
        rows(tmp_path / "x.csv", data)
    assert caught.value.exit_code == 2


@pytest.mark.outcome("a missing folder, CSV or column", "which one")
def test_a_missing_file_says_so(tmp_path: Path) -> None:
    """Not that it is in a wrong encoding."""
    with pytest.raises(DatasetError, match=r"there is no file .*x\.csv"):
        read_header(tmp_path / "x.csv")
    with pytest.raises(DatasetError, match="Is a directory"):
        read_header(tmp_path)


def test_columns_without_a_name_are_left_out(tmp_path: Path) -> None:
    """The index that pandas writes, once and after another round, and the empty columns of a spreadsheet."""
    path = tmp_path / "x.csv"
    assert rows(path, ",name,label\n0,a,happy\n1,b,sad\n") == ROWS
    assert rows(path, "Unnamed: 0.1,Unnamed: 0,name,label\n0,0,a,happy\n1,1,b,sad\n".replace("0.1", "1")) == ROWS
    assert rows(path, "name,label,,\na,happy,,\nb,sad,,,,\n") == ROWS
    assert read_header(path) == ["name", "label"]
    with pytest.raises(DatasetError, match="line 2: more cells than columns"):
        rows(path, "name,label\na,happy,x\n")


def test_blanks_of_any_width_are_part_of_a_name(tmp_path: Path) -> None:
    """An ideographic space, the narrow one that macOS writes before PM, and the joiners of some scripts."""
    names = ["片段\u3000a", "Rec 3.04\u202fPM", "می\u200cخواهم"]
    assert [row["name"] for row in rows(tmp_path / "x.csv", "\n".join(["name", *names]), ["name"])] == names


@pytest.mark.parametrize("char", ["\u200b", "\x07", "\u2028", "\u202e"])
def test_an_invisible_character_is_named(tmp_path: Path, char: str) -> None:
    """Nobody could find out otherwise why two names differ."""
    with pytest.raises(DatasetError, match=rf"line 2: .* has an invisible character \(U\+{ord(char):04X}\)"):
        rows(tmp_path / "x.csv", f"name\na{char}b\n", ["name"])


def test_what_a_cell_without_a_value_is() -> None:
    """Of words an empty cell or NaN alone; of numbers and keys "none" and the like too."""
    assert [present(cell) for cell in ("", " ", "nan", "NaN", None)] == [None] * 5
    assert [present(cell) for cell in ("None", "null", " Nan ", "NA")] == ["None", "null", "Nan", "NA"]
    assert [known(cell) for cell in ("", "NaN", "None", "NULL", "n/a", "NA", None)] == [None] * 7
    assert known(" 7 ") == "7"


def test_the_classes_decide_what_a_label_is() -> None:
    """A class may be called like nothing; where none is, such a label is an error and not an unlabelled clip."""
    classes = ("none", "NA", "null", "Happy")
    assert [read_label(cell, classes, "x") for cell in ("none", "NA", "null", "")] == ["none", "NA", "null", None]
    assert read_label("NaN", classes, "x") is None
    assert read_label("nan", (*classes, "nan"), "x") == "nan"
    with pytest.raises(DatasetError, match=r"unknown label 'n/a'.*leave the cell empty where there is no label"):
        read_label("n/a", classes, "x")


def test_case_alone_makes_no_other_class() -> None:
    """Unless both spellings are classes."""
    assert check_label("HAPPY", ("happy", "sad"), "x") == "happy"
    assert check_label("Happy", ("happy", "Happy"), "x") == "Happy"
    with pytest.raises(DatasetError, match="unknown label 'HAPPY'"):
        check_label("HAPPY", ("happy", "Happy"), "x")
