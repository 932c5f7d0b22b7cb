import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { fieldText } from "../../../static/broadcast/element/item.js";

describe("a field of a publication as text", () => {
  const data = { headline: "Ferry", ship: { name: "Ada", crew: [{ name: "Bo" }] }, full: false, left: 0, gone: null };

  for (const [path, text] of [
    ["headline", "Ferry"],
    ["ship.name", "Ada"],
    ["ship.crew.0.name", "Bo"],
    ["full", "false"],
    ["left", "0"],
    ["gone", ""],
    ["ship.crew", '[{"name":"Bo"}]'],
    ["nothing", ""],
    ["headline.length", ""],
    ["gone.further", ""],
    ["", ""],
    ["..", ""],
  ]) {
    test(`"${path}" is "${text}"`, () => assert.equal(fieldText(data, path), text));
  }

  test("what every object inherits is no field", () => {
    for (const path of ["constructor", "__proto__", "toString", "constructor.name", "ship.constructor"]) {
      assert.equal(fieldText(data, path), "");
    }
  });

  test("what was not published as JSON has none", () => {
    for (const value of ["text", 5, null, true]) assert.equal(fieldText(value, "length"), "");
  });
});
