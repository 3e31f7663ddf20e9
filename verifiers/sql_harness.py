"""The program that makes a database and asks it one question, inside the sandbox."""

MAX_ROWS = 10_000
MAX_CELL_CHARS = 10_000

QUERYING = rf"""
import json, os, sqlite3

MAX_ROWS, MAX_CELL_CHARS = {MAX_ROWS}, {MAX_CELL_CHARS}
READS = {{sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION,
         sqlite3.SQLITE_RECURSIVE}}
PRAGMAS = {{"table_info", "table_xinfo", "table_list", "index_list", "index_info",
           "foreign_key_list"}}

def take():
    with os.fdopen(0, "rb") as source:
        size = int(source.read(12))
        return json.loads(source.read(size))

def tell(**report):
    data = json.dumps(report).encode() + b"\n"
    while data:
        data = data[os.write(3, data):]

def only_reads(action, first, *rest):
    if action in READS or (action == sqlite3.SQLITE_PRAGMA and first.lower() in PRAGMAS):
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY

def plain(cell):
    if isinstance(cell, bytes):
        return {{"hex": cell[:MAX_CELL_CHARS].hex()}}
    return cell[:MAX_CELL_CHARS] if isinstance(cell, str) else cell

def ask(database, query):
    database.set_authorizer(only_reads)
    try:
        cursor = database.execute(query)
        rows = cursor.fetchmany(MAX_ROWS + 1)
    except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError) as error:
        tell(error=f"{{type(error).__name__}}: {{error}}"[:300])
        return
    if cursor.description is None:
        tell(error="it returns no rows")
    elif len(rows) > MAX_ROWS:
        tell(too_many=True)
    else:
        cells = [[plain(cell) for cell in row] for row in rows]
        tell(num_columns=len(cursor.description), rows=cells)

def main():
    given = take()
    database = sqlite3.connect(":memory:", isolation_level=None)
    database.text_factory = lambda text: text.decode(errors="surrogateescape")
    try:
        database.executescript(given["schema"])
    except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
        tell(schema_error=f"{{type(error).__name__}}: {{error}}"[:300])
        return
    ask(database, given["query"])

main()
"""
"""Reports ``num_columns`` and ``rows``, or ``too_many``, ``error`` or ``schema_error``. A blob is
``{"hex": …}``; a longer cell is cut."""
