import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { cutterFor, isMediaType, readHeader } from "../../../static/broadcast/video/media.js";
import { block, box, bytes, cluster, ebml, fragment, group, mp4Header, text, track, webmHeader, wholeCluster } from "../recordings.js";

/** What a cutter makes of these bytes, cut before `at` (or not at all), in short. */
function cut(type, recording, at = recording.length) {
  const cutter = cutterFor(type);
  return [...cutter.push(recording.slice(0, at)), ...cutter.push(recording.slice(at))];
}

/** The places where headers and entry points begin, and whether nothing was lost. */
function outline(parts, recording) {
  const places = { headers: [], entries: [] };
  let place = 0;
  for (const { data, header, entry } of parts) {
    if (header) places.headers.push(place);
    if (entry) places.entries.push(place);
    place += data.length;
  }
  assert.deepEqual(bytes(...parts.map(({ data }) => data)), recording.slice(0, place));
  return { ...places, length: place };
}

function everySplit(type, recording, expected) {
  for (let at = 0; at <= recording.length; at++) {
    assert.deepEqual(outline(cut(type, recording, at), recording), expected, `cut at ${at}`);
  }
}

describe("cutting WebM", () => {
  const header = webmHeader();
  const key = cluster(block(1), block(2, { key: true }), block(1));
  const rest = cluster(block(1), block(2), block(2, { key: true }));

  test("clusters of unknown size: entry points begin with a key frame, wherever the bytes were cut", () => {
    const recording = bytes(header, key, rest, key, cluster(block(2)));
    const [first, second] = [header.length, header.length + key.length + rest.length];
    everySplit("video/webm", recording, { headers: [0], entries: [first, second], length: recording.length });
  });

  test("a cluster that says its size stays whole", () => {
    const whole = wholeCluster(block(1), block(2, { key: true }), block(2));
    const recording = bytes(header, whole, wholeCluster(block(2)), whole);
    const second = recording.length - whole.length;
    everySplit("video/webm", recording, { headers: [0], entries: [header.length, second], length: recording.length });
    const cutter = cutterFor("video/webm");
    cutter.push(header);
    const [, ...parts] = cutter.push(bytes(whole.slice(0, -1)));
    assert.deepEqual(parts, []);
  });

  test("what stands between clusters ends the one before, and an open one is handed on as its blocks are whole", () => {
    const cutter = cutterFor("video/webm");
    const parts = cutter.push(bytes(header, key, ebml(0x1254c367, 1, 2), rest));
    assert.deepEqual(parts.map(({ header, entry }) => (header ? "header" : entry ? "entry" : "rest")), ["header", "entry", "rest", "rest"]);
    assert.equal(cutter.push(block(2).slice(0, 4)).length, 0);
    assert.deepEqual(cutter.push(block(2).slice(4)).map(({ data }) => data), [block(2)]);
  });

  test("a group of blocks is a key frame when it refers to nothing", () => {
    const recording = bytes(header, cluster(group(2)), cluster(group(2, { key: true })));
    everySplit("video/webm", recording, {
      headers: [0],
      entries: [header.length + cluster(group(2)).length],
      length: recording.length,
    });
  });

  test("sound alone can be started at every cluster", () => {
    const alone = webmHeader({ video: false });
    const recording = bytes(alone, cluster(block(1)), cluster(block(1)));
    const entries = [alone.length, alone.length + cluster(block(1)).length];
    everySplit("audio/webm", recording, { headers: [0], entries, length: recording.length });
  });

  test("what is no WebM is refused", () => {
    for (const garbage of [text("GIF89a, as it were"), bytes(header.slice(0, 20), new Uint8Array(40))]) {
      assert.throws(() => cut("video/webm", garbage), RangeError);
    }
    assert.throws(() => cut("video/webm", bytes(webmHeader({ tracks: [] }), key)), RangeError);
  });
});

describe("cutting MP4", () => {
  const header = mp4Header();

  test("fragments that begin in sync are entry points, wherever the bytes were cut", () => {
    const [sync, rest] = [fragment({ first: 0x2000000 }), fragment()];
    const recording = bytes(header, sync, rest, box("styp", text("msdh")), sync);
    const entries = [header.length, header.length + sync.length + rest.length];
    everySplit("video/mp4", recording, { headers: [0], entries, length: recording.length });
  });

  test("the flags of the first sample count, then those of the samples, of the fragment, of the header", () => {
    const [SYNC, NOT] = [0x2000000, 0x1010000];
    const entry = (flags, options) => {
      const [, part] = cut("video/mp4", bytes(mp4Header({ flags }), fragment(options)));
      return part.entry;
    };
    assert.equal(entry(NOT, { first: SYNC, usual: NOT }), true);
    assert.equal(entry(SYNC, { first: NOT, usual: SYNC }), false);
    assert.equal(entry(NOT, { sample: SYNC, usual: NOT }), true);
    assert.equal(entry(SYNC, { sample: NOT, usual: SYNC }), false);
    assert.equal(entry(NOT, { usual: SYNC }), true);
    assert.equal(entry(SYNC, { usual: NOT }), false);
    assert.equal(entry(SYNC), true);
    assert.equal(entry(SYNC, { track: 2 }), false);
  });

  test("what is no fragmented MP4 is refused", () => {
    assert.throws(() => cut("video/mp4", bytes(box("ftyp", text("isom")), box("mdat", 1))), RangeError);
    assert.throws(() => cut("video/mp4", text("no box at all, no")), RangeError);
  });
});

describe("a header", () => {
  test("tells the type with its codecs, and what there is", () => {
    assert.deepEqual({ ...readHeader(webmHeader()) }, { mimeType: 'video/webm; codecs="opus,vp8"', hasVideo: true, hasAudio: true });
    assert.deepEqual({ ...readHeader(webmHeader({ video: false })) }, { mimeType: 'audio/webm; codecs="opus"', hasVideo: false, hasAudio: true });
    assert.deepEqual({ ...readHeader(mp4Header()) }, { mimeType: 'video/mp4; codecs="avc1.64001F,mp4a.40.2"', hasVideo: true, hasAudio: true });
    assert.equal(readHeader(mp4Header({ audio: false })).hasAudio, false);
  });

  test("of a codec that is not known tells no type", () => {
    const header = readHeader(webmHeader({ tracks: [track(1, 1, "V_SOMETHING")] }));
    assert.equal(header.mimeType, null);
    assert.equal(header.hasVideo, true);
  });

  test("knows what a newcomer can start with", () => {
    const webm = readHeader(webmHeader());
    assert.equal(webm.isEntry(cluster(block(1), block(2, { key: true }))), true);
    assert.equal(webm.isEntry(cluster(block(1), block(2))), false);
    assert.equal(webm.isEntry(block(2, { key: true })), false);
    assert.equal(readHeader(mp4Header()).isEntry(fragment({ first: 0 })), true);
    assert.equal(readHeader(mp4Header()).isEntry(fragment({ first: 0x10000 })), false);
  });

  test("anything else is none, and nothing to start with", () => {
    for (const garbage of [new Uint8Array(), text("hello"), webmHeader().slice(0, 30), new Uint8Array(50)]) {
      assert.equal(readHeader(garbage), null);
      assert.equal(readHeader(webmHeader()).isEntry(garbage), false);
    }
  });
});

test("video and audio are media types", () => {
  assert.deepEqual(["video/webm", "audio/mp4; codecs=opus", "text/plain", "", null].map(isMediaType), [true, true, false, false, false]);
});
