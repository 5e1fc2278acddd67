"""The page of the Parquet tables: columns, types, units and meanings, from their schemas."""

from __future__ import annotations

import pyarrow as pa

from scalinglaws.decide.reference.markdown import page, table
from scalinglaws.tables.describe import TABLES, described
from scalinglaws.tables.schema import SCHEMAS

INTRODUCTION = """
Tables lie in `results/studies/NAME/tables`, as NAME.parquet. Every column can hold null. All but `timings` are the same
byte for byte wherever they are made from the same training. [How to read them](../howto.md#read-the-tables-from-a-notebook).
"""


def tables_page() -> str:
    """Return the page."""
    lines = [*INTRODUCTION.strip().splitlines(), ""]
    for name, schema in SCHEMAS.items():
        rows = [(f"`{field.name}`", kind_of(field.type), *described(name, field.name)) for field in schema]
        lines += [f"## {name}", "", TABLES[name], "", *table(("column", "type", "unit", "meaning"), rows)]
    return page("Tables", lines)


def kind_of(kind: pa.DataType) -> str:
    """Return the type of a column in words."""
    if pa.types.is_list(kind):
        return f"list of {kind_of(kind.value_type)}s"
    return {pa.int64(): "integer", pa.float64(): "number", pa.string(): "text", pa.bool_(): "true or false"}[kind]
