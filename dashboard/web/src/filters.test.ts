import { describe, expect, it } from "vitest";
import { chipsOf, filterPatch, filtersOf, noFilters } from "./filters";
import { patched } from "./router";

describe("filters in the address", () => {
  it("take only the contract's names, a list as a list", () => {
    const params = { run: ["a"], sort: ["-n_tokens"], verdict: ["wrong", "no_answer"], tokens_max: ["900"] };

    expect(filtersOf(params)).toEqual({ verdict: ["wrong", "no_answer"], tokens_max: ["900"] });
  });

  it("come back from a link that the server's filters made", () => {
    const params = patched({}, filterPatch({ reason: ["over_budget"], accepted: false, version_min: 0, version_max: 3 }));

    expect(filtersOf(params)).toEqual({ reason: ["over_budget"], accepted: ["false"], version_min: ["0"], version_max: ["3"] });
  });

  it("are chips, both bounds of a range in one, and go when they are taken away", () => {
    const params = { version_min: ["2"], version_max: ["5"], reason: ["over_budget", "wrong"] };

    const chips = chipsOf(params);

    expect(chips.map((chip) => `${chip.label}: ${chip.value}`)).toEqual(["reason: over budget or wrong", "version: 2 to 5"]);
    expect(patched(params, chips[1]?.remove ?? {})).toEqual({ reason: ["over_budget", "wrong"] });
    expect(patched(params, noFilters())).toEqual({});
  });
});
