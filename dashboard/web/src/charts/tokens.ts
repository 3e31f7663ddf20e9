import type { Token } from "../theme";

/** Hues for series that are no fates, in the order they are given out. */
export const SERIES_TOKENS: readonly Token[] = ["accent", "filtered", "trained", "truncated", "wrong", "stale"];
