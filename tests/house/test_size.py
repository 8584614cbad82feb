"""Small rooms: files and functions stay short enough to be read in one go."""

import ast
from collections.abc import Iterator

MOST_LINES_OF_A_FILE = 330
CATALOGUES = {
    "common/errors.py": 500,
    "common/settings.py": 400,
}  # one small entry after the other: nobody reads them in one go
MOST_LINES_OF_A_FUNCTION = 60


def functions(text: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_no_file_is_too_long(modules: dict[str, str]) -> None:
    lengths = {name: len(text.splitlines()) for name, text in modules.items()}
    most = {name: CATALOGUES.get(name, MOST_LINES_OF_A_FILE) for name in lengths}
    assert {name: length for name, length in lengths.items() if length > most[name]} == {}


def test_no_function_is_too_long(modules: dict[str, str]) -> None:
    too_long = [
        f"{name}:{function.lineno} {function.name}: {length} lines"
        for name, text in modules.items()
        for function in functions(text)
        if (length := (function.end_lineno or function.lineno) - function.lineno + 1) > MOST_LINES_OF_A_FUNCTION
    ]
    assert too_long == []
