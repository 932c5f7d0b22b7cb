import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { readHeader } from "../../../static/broadcast/video/media.js";
import { block, bytes, cluster, clusterAt, ebml, group, mp4Header, webmHeader, wholeCluster } from "../recordings.js";

function joiner(options) {
  return readHeader(webmHeader(options)).joiner();
}

/** What is handed on of these parts, in one. */
function joined(parts, one = joiner()) {
  return bytes(...parts.map((part) => one.push(part)));
}

/** A cluster as it is handed on. */
function begun(time, ...blocks) {
  return bytes(0x1f, 0x43, 0xb6, 0x75, 0x01, new Uint8Array(7).fill(0xff), 0xe7, 0x88, 0, 0, 0, 0, [24, 16, 8, 0].map((by) => (time >> by) & 0xff), ...blocks);
}

describe("joining clusters", () => {
  const key = (time) => block(2, { key: true, time });
  const picture = (time) => block(2, { time });
  const sound = (time) => block(1, { time });

  test("blocks of all clusters are of the first one, at the time they had", () => {
    const parts = [
      clusterAt(1000, sound(-3), key(0), picture(40)),
      clusterAt(1060, sound(0), picture(20)),
      wholeCluster(),
      clusterAt(1100, group(2, { time: 20 }), picture(-10)),
    ];
    const expected = begun(1000, sound(-3), key(0), picture(40), sound(60), picture(80), group(2, { time: 120 }), picture(90));
    assert.deepEqual(joined(parts), expected);
  });

  test("wherever it was cut, and whatever stands between", () => {
    const between = [ebml(0x1c53bb6b, new Uint8Array(300)), ebml(0xec, 1, 2)];
    const recording = bytes(clusterAt(5, key(0), ebml(0xab, 9), sound(1)), ...between, clusterAt(7, ebml(0xa7, 1), picture(3)));
    const expected = begun(5, key(0), sound(1), picture(5));
    for (let at = 0; at <= recording.length; at++) {
      assert.deepEqual(joined([recording.slice(0, at), recording.slice(at)]), expected, `cut at ${at}`);
    }
    assert.deepEqual(joined(Array.from(recording, (byte) => bytes(byte))), expected);
  });

  test("a block is handed on as soon as it is whole", () => {
    const one = joiner();
    assert.deepEqual(one.push(cluster(key(0), picture(40)).slice(0, -1)), begun(0, key(0)));
    assert.deepEqual(one.push(picture(40).slice(-1)), picture(40));
  });

  test("a restart begins a cluster, and half a block from before is forgotten", () => {
    const one = joiner();
    joined([cluster(key(0)), picture(40).slice(0, 6)], one);
    one.restart();
    assert.deepEqual(one.push(clusterAt(90, key(1))), begun(90, key(1)));
  });

  test("it is long after a while, at a key frame that nothing waits before", () => {
    const one = joiner();
    const late = clusterAt(20_000, key(0));
    assert.equal(one.isLong(late), false);
    joined([clusterAt(100, key(0)), clusterAt(16_000, picture(0))], one);
    assert.equal(one.isLong(late), false);
    one.push(clusterAt(16_500, picture(0)));
    assert.equal(one.isLong(late), true);
    assert.equal(one.isLong(clusterAt(20_000, picture(0))), false);
    one.push(picture(1).slice(0, 4));
    assert.equal(one.isLong(late), false);
  });

  test("a time that 16 bits cannot say begins a cluster, forward and back", () => {
    const parts = [clusterAt(0, key(0)), clusterAt(32_767, picture(0)), clusterAt(32_768, picture(0)), clusterAt(0, sound(-1))];
    const expected = bytes(begun(0, key(0), picture(32_767)), begun(32_768, picture(0)), begun(0, sound(-1)));
    assert.deepEqual(joined(parts), expected);
  });

  test("what is no WebM is refused", () => {
    for (const broken of [[0, 1], [0xa3, 0x81, 0x82], [0xa3, 0xff], [0xa3, 0x18, 0, 0, 0], ebml(0xa0, 1), endlessTags()]) {
      assert.throws(() => joined([cluster(key(0)), bytes(...broken)]), RangeError);
    }
  });

  test("nothing needs to be done to MP4", () => {
    assert.equal(readHeader(mp4Header()).joiner(), null);
  });
});

function endlessTags() {
  return [0x12, 0x54, 0xc3, 0x67, 0xff];
}
