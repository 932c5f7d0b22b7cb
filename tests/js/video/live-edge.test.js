import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { LiveEdge } from "../../../static/broadcast/video/live-edge.js";

/** Pieces of a tenth of a second that came as they were made, from `from` to `to`; the clock is 100 s ahead. */
function flow(edge, from, to, { late = 0, step = 0.1 } = {}) {
  for (let i = 1; i <= Math.round((to - from) / step); i++) edge.arrived(from + i * step, 100 + from + i * step + late);
  return edge;
}

function near(actual, expected, tolerance = 0.02) {
  assert.ok(Math.abs(actual - expected) < tolerance, `${actual} is not about ${expected}`);
}

describe("where to play", () => {
  test("nothing came: where it stands", () => {
    assert.deepEqual(new LiveEdge().steer([], 0), { seek: null, rate: 1 });
  });

  test("a newcomer begins near the newest, in what there is", () => {
    const edge = flow(new LiveEdge(), 50, 51);
    near(edge.steer([[50, 51]], 0).seek, 51 - edge.aim);
  });

  test("it begins with nothing less than what is aimed at", () => {
    const edge = flow(new LiveEdge(), 50, 51);
    assert.equal(edge.steer([[50.9, 51]], 0).seek, null);
  });

  test("a picture that ran dry waits where it stands", () => {
    const edge = flow(new LiveEdge(), 0, 10);
    assert.equal(edge.steer([[0, 10]], 10.2).seek, null);
  });

  test("near the aim it stays as it is; a little behind it hurries, until it is there", () => {
    const edge = flow(new LiveEdge(), 0, 10);
    const place = 10 - edge.aim;
    assert.deepEqual(edge.steer([[0, 10]], place), { seek: null, rate: 1 });
    assert.equal(edge.steer([[0, 10]], place - 0.2).rate, 1.07);
    assert.equal(edge.steer([[0, 10]], place - 0.5).rate, 1.2);
    assert.equal(edge.steer([[0, 10]], place - 0.2).rate, 1.2);
    assert.equal(edge.steer([[0, 10]], place - 0.1).rate, 1.2);
    assert.equal(edge.steer([[0, 10]], place + 0.01).rate, 1);
  });

  test("far behind it jumps", () => {
    const edge = flow(new LiveEdge(), 0, 10);
    near(edge.steer([[0, 10]], 3).seek, 10 - edge.aim);
  });

  test("over a gap it goes when it has played what is before it", () => {
    const edge = flow(new LiveEdge(), 0, 10);
    assert.equal(edge.steer([[0, 5], [9.7, 10]], 4.5).seek, null);
    near(edge.steer([[0, 5], [9.7, 10]], 5).seek, 10 - edge.aim);
    near(edge.steer([[0, 5], [9, 10]], 4.5).seek, 10 - edge.aim);
  });

  test("a new recording begins before the old place", () => {
    const edge = flow(new LiveEdge(), 0, 60);
    edge.restart();
    flow(edge, 0, 0.4, { late: 61 });
    near(edge.steer([[0, 0.4]], 59.8).seek, 0.4 - edge.aim);
  });
});

describe("the aim", () => {
  test("is larger where pieces are larger, within bounds", () => {
    const small = flow(new LiveEdge(), 0, 5).aim;
    const large = flow(new LiveEdge(), 0, 5, { step: 1 }).aim;
    assert.ok(small < 0.3);
    assert.ok(large > 1.1 && large <= 3);
  });

  test("grows when the picture stalled, and comes back when it does not", () => {
    const edge = flow(new LiveEdge(), 0, 5);
    const { aim } = edge;
    edge.stalled();
    near(edge.aim, aim + 0.15);
    for (let i = 0; i < 100; i++) edge.stalled();
    assert.ok(edge.aim <= aim + 1.01);
    near(flow(edge, 5, 205).aim, aim);
  });
});

describe("how far behind", () => {
  test("the picture is as old as the time since it could have been had", () => {
    const edge = new LiveEdge();
    assert.equal(edge.behind(0, 100), null);
    flow(edge, 0, 5);
    near(edge.behind(4.7, 105), 0.3);
  });

  test("what waits in the network counts, although nobody sees it", () => {
    const edge = flow(flow(new LiveEdge(), 0, 5), 5, 6, { late: 2 });
    near(edge.behind(5.7, 108), 2.3);
  });

  test("a line that stays late is late; what was missed for a moment is not", () => {
    const edge = flow(new LiveEdge(), 0, 5);
    flow(edge, 5, 6, { late: 5 });
    assert.equal(edge.isLate(110.9), false);
    flow(edge, 6, 6.5, { late: 5 });
    assert.equal(edge.isLate(111.5), true);
    edge.restart();
    assert.equal(edge.isLate(111.5), false);

    const recovered = flow(new LiveEdge(), 0, 5);
    for (let i = 1; i <= 60; i++) recovered.arrived(5 + i * 0.1, 111 + i * 0.001);
    assert.equal(recovered.isLate(113), false);
  });
});
