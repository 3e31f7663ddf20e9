import { describe, expect, it } from "vitest";
import { csvCell, csvOf } from "./save_file";

describe("csvCell", () => {
  it.each([
    ["plain", "plain"],
    ['a "b", c', '"a ""b"", c"'],
    ["two\nlines", '"two\nlines"'],
    ["=HYPERLINK(1)", "'=HYPERLINK(1)"],
    ["@x", "'@x"],
    [-3.5, "-3.5"],
    [null, ""],
    [["a", "b"], '"[""a"",""b""]"'],
  ])("%j", (value, expected) => {
    expect(csvCell(value)).toBe(expected);
  });
});

describe("csvOf", () => {
  it("has a head and one line a row", () => {
    expect(csvOf([{ a: 1, b: "x" }, { a: 2, b: null }])).toBe("a,b\r\n1,x\r\n2,\r\n");
  });
});
