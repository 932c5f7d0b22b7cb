import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { roomWords } from "../../../static/broadcast/room/words.js";
import { arrange, Tiles } from "../../../static/broadcast/room/tiles.js";
import { userAgent } from "../../../static/broadcast/room/user-agent.js";

const GAP = 8;

/** As much of an element as a tile needs; whoever looks for another below it finds the same one each time. */
class FakeElement {
  dataset = {};
  style = { setProperty() {} };
  clientWidth = 1264;
  clientHeight = 676;
  textContent = "";
  #found = new Map();

  querySelector(selector) {
    if (!this.#found.has(selector)) this.#found.set(selector, new FakeElement());
    return this.#found.get(selector);
  }

  append() {}
  toggleAttribute() {}
}

/** The tile of somebody of this name. */
function tileOf(name) {
  globalThis.ResizeObserver ??= class {
    observe() {}
  };
  const template = { content: { firstElementChild: { cloneNode: () => new FakeElement() } } };
  const tile = new Tiles(new FakeElement(), template).of("somebody");
  const told = { microphone: true, camera: false, screen: false };
  tile.showPeer({ name, link: { told, stream: { getVideoTracks: () => [] } } });
  return (what) => tile.element.querySelector(`[data-${what}]`).textContent;
}

describe("tiles", () => {
  for (const [count, columns] of [[1, 1], [2, 2], [3, 2], [4, 2], [5, 3], [7, 3], [9, 3], [12, 4]]) {
    test(`${count} on a screen have ${columns} columns`, () => {
      assert.equal(arrange(count, 1264, 676).columns, columns);
    });
  }

  test("on a phone two are one above the other, and four are two by two", () => {
    assert.equal(arrange(2, 359, 560).columns, 1);
    assert.equal(arrange(4, 359, 560).columns, 2);
  });

  test("they fit, and none is wider than a picture or narrower than a face", () => {
    for (let count = 1; count <= 16; count++) {
      for (const [width, height] of [[1264, 676], [1900, 900], [900, 400], [700, 690]]) {
        const { columns, width: w, height: h } = arrange(count, width, height);
        const rows = Math.ceil(count / columns);
        assert.ok(columns * w + (columns - 1) * GAP <= width, `${count} in ${width}`);
        assert.ok(rows * h + (rows - 1) * GAP <= height, `${count} in ${height}`);
        assert.ok(w / h > 1.3 && w / h < 1.81, `${w} × ${h}`);
      }
    }
  });

  test("what would be too small scrolls", () => {
    const { columns, width } = arrange(40, 359, 560);
    assert.deepEqual([columns, width], [2, 175]);
  });
});

describe("what stands for a name", () => {
  for (const [name, initial] of [["ada", "A"], [" 😀 b", "😀"], ["\ufeff", ""], ["", "G"]]) {
    test(`${JSON.stringify(name)}: ${initial || "nothing"}`, () => {
      const shown = tileOf(name);
      assert.equal(shown("initial"), initial);
      assert.equal(shown("name"), name || "Guest");
    });
  }
});

describe("what a browser is called", () => {
  const engine = "AppleWebKit/537.36 (KHTML, like Gecko)";
  for (const [words, name] of [
    [`Mozilla/5.0 (X11; Linux x86_64) ${engine} Chrome/156.0.0.0 Safari/537.36`, "chrome"],
    [`Mozilla/5.0 (Windows NT 10.0) ${engine} Chrome/156.0.0.0 Safari/537.36 Edg/156.0.0.0`, "chrome"],
    ["Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "firefox"],
    ["Mozilla/5.0 (Macintosh) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605.1.15", "safari"],
    ["Mozilla/5.0 (iPhone) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/156.0 Mobile Safari/604.1", "safari"],
    ["curl/8", "unknown"],
  ]) {
    test(`${name}: ${words}`, () => assert.equal(userAgent(words), name));
  }
});

describe("the words for the connection", () => {
  test("how many are there", () => {
    assert.equal(roomWords({ name: "joined" }, 0).label, "Only you");
    assert.equal(roomWords({ name: "joined" }, 2).label, "3 people");
  });

  test("when it comes back, and that the call goes on", () => {
    const state = { name: "reconnecting", reason: "The connection was lost.", at: 4000 };
    const { detail } = roomWords(state, 1, 1500);
    assert.equal(detail, "The connection was lost. Trying again in 3\u00a0s. Picture and sound go on.");
    assert.equal(roomWords({ ...state, at: null }, 0).detail, "The connection was lost. Trying again now.");
  });
});
