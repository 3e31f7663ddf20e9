import { describe, expect, it } from "vitest";
import * as format from "./format";

describe("count", () => {
  it.each([
    [0, "0"], [3142, "3,142"], [9999, "9,999"], [12_400, "12.4k"], [999_499, "999k"], [999_950, "1.00M"],
    [1_830_000, "1.83M"], [-12_400, "−12.4k"], [NaN, "NaN"], [Infinity, "+∞"],
  ])("%s is %s", (value, text) => expect(format.count(value)).toBe(text));
});

describe("duration", () => {
  it.each([
    [0, "0 ms"], [0.0042, "4.2 ms"], [0.84, "840 ms"], [12.4, "12.4 s"], [59.96, "1 m 00 s"], [192, "3 m 12 s"], [7500, "2 h 05 m"],
    [3599.7, "1 h 00 m"], [273_600, "3 d 04 h"], [-5, "−5.0 s"],
  ])("%s s is %s", (value, text) => expect(format.duration(value)).toBe(text));
});

describe("percent and number", () => {
  it("keeps a narrow space before the sign and a true minus", () => {
    expect(format.percent(0.374)).toBe("37.4\u202f%");
    expect(format.percent(-0.02)).toBe("−2.0\u202f%");
    expect(format.percent(-0.00001)).toBe("0.0\u202f%");
  });

  it.each([
    [0, "0"], [0.1234, "0.12"], [12.44, "12.4"], [123.456, "123.5"], [1234.56, "1,235"], [56_789, "56.8k"], [-3.5, "−3.5"], [0.0000012, "1.2e−6"],
  ])("%s is %s", (value, text) => expect(format.number(value)).toBe(text));
});

describe("change", () => {
  it("says better for fewer tokens and worse for lower accuracy", () => {
    expect(format.change(-312, "down")).toEqual({ text: "−312", word: "better" });
    expect(format.change(-0.02, "up", format.percent)).toEqual({ text: "−2.0\u202f%", word: "worse" });
  });

  it("has no word for what reads as nothing", () => {
    expect(format.change(0.00001, "up", format.percent)).toEqual({ text: "±0", word: "" });
    expect(format.change(5, "none").word).toBe("");
  });
});

describe("shortIds", () => {
  it("shows the eight characters that differ", () => {
    expect(format.shortIds(["abcdefghij-1", "zbcdefghij-2"])).toEqual(["abcdefgh", "zbcdefgh"]);
    expect(format.shortIds(["same-beginning-000001", "same-beginning-000002"])).toEqual(["…g-000001", "…g-000002"]);
  });

  it("never makes two ids look alike", () => {
    const ids = ["same-start-A-same-ending", "same-start-B-same-ending"];

    expect(new Set(format.shortIds(ids)).size).toBe(2);
  });
});

describe("times", () => {
  it("reads relative, and whole in UTC", () => {
    expect(format.ago(1_000_000, 5_500_000)).toBe("4 s ago");
    expect(format.ago(10_000_000, 5_000_000)).toBe("now");
    expect(format.utc(1_764_356_109_000_000)).toBe("2025-11-28 18:55:09 UTC");
  });
});

describe("distinctWords", () => {
  it("leaves what tells the series of a chart apart", () => {
    expect(format.distinctWords(["generated_tokens_per_s", "trained_tokens_per_s"])).toEqual(["generated", "trained"]);
    expect(format.distinctWords(["wait_s", "train_s", "publish_s"])).toEqual(["wait", "train", "publish"]);
    expect(format.distinctWords(["mean_tokens", "accepted_tokens_mean"])).toEqual(["mean tokens", "accepted"]);
    expect(format.distinctWords(["loss"])).toEqual(["loss"]);
  });
});
