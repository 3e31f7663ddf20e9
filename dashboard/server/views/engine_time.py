"""An engine writes many rollouts at a time: one of them costs its share of the engine's time."""

from dashboard.server.look import Look

STEP_US = 1_000_000


def seconds_sql(look: Look) -> str:
    """Seconds of an engine that a rollout took: the time in which it was written, divided by how
    many its engine wrote at once, on the average of that engine."""
    factors = _factors(look)
    if not factors:
        return "NULL::DOUBLE"
    cases = " ".join(
        f"WHEN generator_id = '{name.replace(chr(39), chr(39) * 2)}' THEN {factor!r}"
        for name, factor in factors.items()
    )
    return f"(gen_ms / 1000.0 * CASE {cases} END)"


def _factors(look: Look) -> dict[str, float]:
    """Of each engine: seconds in which it wrote anything, over the seconds of all that it wrote."""
    run = look.run
    key = look.db.offset
    if run.engine_factors is None or run.engine_factors[0] != key:
        run.engine_factors = (key, _measure(look))
    return run.engine_factors[1]


def _measure(look: Look) -> dict[str, float]:
    rows = look.db.tuples(
        f"""WITH spans AS (
                SELECT generator_id, start_us // {STEP_US} AS a, end_us // {STEP_US} AS b, gen_ms
                FROM rollouts WHERE end_us >= start_us AND generator_id IS NOT NULL),
            merged AS (
                SELECT generator_id, a, max(b) AS b, sum(gen_ms) AS ms FROM spans
                GROUP BY generator_id, a),
            reach AS (
                SELECT *, max(b) OVER (PARTITION BY generator_id ORDER BY a
                    ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before FROM merged)
            SELECT generator_id::VARCHAR,
                sum(greatest(0, b + 1 - greatest(a, coalesce(before + 1, a)))), sum(ms) / 1000
            FROM reach GROUP BY generator_id"""
    )
    return {name: min(1.0, busy / written) for name, busy, written in rows if written}
