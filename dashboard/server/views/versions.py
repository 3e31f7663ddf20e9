"""Weight versions as columns of a chart; where there are too many, neighbours share one."""

from dataclasses import dataclass

from dashboard.server.filters import Where
from dashboard.server.look import Look


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionColumns:
    versions: list[tuple[int, int]]
    """First and last version of each column, ascending."""
    sql: str
    """The number of a rollout's column; null where it has no version."""


def version_columns(look: Look, where: Where, most: int) -> VersionColumns:
    low, high, num = look.db.one(
        f"""SELECT min(last_version), max(last_version), approx_count_distinct(last_version)
            FROM rollouts WHERE {where.sql}""",
        where.values,
    )
    if not num:
        return VersionColumns(versions=[], sql="NULL::INTEGER")
    width = -(-(high - low + 1) // most)
    first = low - low % width
    columns = (high - first) // width + 1
    return VersionColumns(
        versions=[
            (max(low, first + at * width), min(high, first + at * width + width - 1))
            for at in range(columns)
        ],
        sql=f"((last_version - {first}) // {width})",
    )
