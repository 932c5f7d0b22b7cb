import assert from "node:assert/strict";
import { test } from "node:test";

import { loudness } from "../../../static/broadcast/studio/meter.js";

test("the scale is that of the ear: silence is 0, half as many decibels is the middle, the loudest is 1", () => {
  assert.equal(loudness(new Float32Array(8)), 0);
  assert.ok(Math.abs(loudness(new Float32Array([0, -0.0316, 0.01])) - 0.5) < 0.01);
  assert.equal(loudness(new Float32Array([0.1, -1])), 1);
});
