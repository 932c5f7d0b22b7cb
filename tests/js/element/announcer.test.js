import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { Announcer } from "../../../static/broadcast/element/announcer.js";
import { FakeClock } from "../fakes.js";

class Scene {
  clock = new FakeClock();
  spoken = [];
  announcer = new Announcer((text) => this.spoken.push(text), this.clock);
}

describe("what a screen reader is told", () => {
  test("a publication is told as it is, at the next moment", () => {
    const { announcer, clock, spoken } = new Scene();
    announcer.publications(1, "Ferry leaves at nine.");
    assert.deepEqual(spoken, []);
    clock.advance(0);
    assert.deepEqual(spoken, ["Ferry leaves at nine"]);
  });

  test("200 publications in 20 seconds are five sentences, 5 seconds apart, that count them all", () => {
    const { announcer, clock, spoken } = new Scene();
    const times = [];
    for (let number = 1; number <= 200; number++) {
      announcer.publications(1, `number ${number}`);
      const before = spoken.length;
      clock.advance(100);
      if (spoken.length > before) times.push(number);
    }
    clock.advance(60_000);
    assert.deepEqual(times, [1, 50, 100, 150, 200]);
    assert.deepEqual(spoken, [
      "number 1",
      "49 new publications, the newest: number 50",
      ...[100, 150, 200].map((number) => `50 new publications, the newest: number ${number}`),
    ]);
  });

  test("after a quiet time the next one is told at once", () => {
    const { announcer, clock, spoken } = new Scene();
    announcer.publications(1, "one");
    clock.advance(60_000);
    announcer.publications(1, "two");
    clock.advance(0);
    assert.deepEqual(spoken, ["one", "two"]);
  });

  test("news of the connection come first, the last two of them", () => {
    const { announcer, clock, spoken } = new Scene();
    for (const words of ["Reconnecting", "Connected again. Nothing was lost.", "Live"]) announcer.say(words);
    announcer.publications(2, "two");
    clock.advance(0);
    assert.deepEqual(spoken, ["Connected again. Nothing was lost. Live. 2 new publications, the newest: two"]);
  });

  test("a long publication is told by its beginning, and no character is cut in two", () => {
    const { announcer, clock, spoken } = new Scene();
    announcer.publications(1, "😀".repeat(1000));
    clock.advance(0);
    assert.equal(spoken[0], `${"😀".repeat(120)}…`);
  });

  test("what was not told when it is stopped is never told", () => {
    const { announcer, clock, spoken } = new Scene();
    announcer.publications(3, "three");
    announcer.stop();
    clock.advance(60_000);
    assert.deepEqual(spoken, []);
    assert.equal(clock.pending, 0);
  });
});
