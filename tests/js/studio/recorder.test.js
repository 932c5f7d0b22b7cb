import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { QUALITIES, qualityWords, rate } from "../../../static/broadcast/studio/qualities.js";
import { recordableType, Recorder } from "../../../static/broadcast/studio/recorder.js";
import { settle } from "../fakes.js";
import { block, bytes, cluster, webmHeader } from "../recordings.js";

const WEBM = "video/webm;codecs=vp8,opus";

class FakeStreamer extends EventTarget {
  said = [];
  unacceptedBytes = 0;
  perishable = false;
  frameLimit = 1000;

  reset() {
    this.said.push("reset");
  }

  mark(as) {
    this.said.push(as);
  }

  async sendBinary(data) {
    this.said.push(data.length);
  }

  ready(newHistory) {
    this.dispatchEvent(new CustomEvent("ready", { detail: { newHistory } }));
  }
}

class Scene {
  constructor(types = [WEBM]) {
    const scene = this;
    this.recorders = [];
    this.now = 0;
    this.MediaRecorder = class {
      static isTypeSupported = (type) => types.includes(type);
      state = "inactive";

      constructor(stream, options) {
        this.options = options;
        scene.recorders.push(this);
      }

      start(timeslice) {
        this.timeslice = timeslice;
        this.state = "recording";
      }

      stop() {
        this.state = "inactive";
      }
    };
    this.streamer = new FakeStreamer();
    const stream = { getVideoTracks: () => [{}] };
    const options = { MediaRecorder: this.MediaRecorder, now: () => this.now };
    this.recorder = new Recorder(stream, this.streamer, QUALITIES.get("low"), options);
  }

  /** What the newest recorder recorded. */
  async records(...parts) {
    this.recorders.at(-1).ondataavailable?.({ data: new Blob([bytes(...parts)]) });
    await settle();
    await settle();
  }

  async broadcasting() {
    this.recorder.start();
    await this.records(HEADER, KEY, block(2));
    this.streamer.said.length = 0;
    return this;
  }
}

const HEADER = webmHeader();
const KEY = cluster(block(2, { key: true }));
const REST = cluster(block(2));

describe("a recorder", () => {
  test("records what is wanted first of what the browser can", () => {
    const can = (...types) => ({ isTypeSupported: (type) => types.includes(type) });
    assert.equal(recordableType(true, can("video/webm;codecs=vp9,opus", WEBM)), WEBM);
    assert.equal(recordableType(true, can("video/mp4;codecs=avc1.42E01F,mp4a.40.2")), "video/mp4;codecs=avc1.42E01F,mp4a.40.2");
    assert.equal(recordableType(false, can("audio/webm;codecs=opus", WEBM)), "audio/webm;codecs=opus");
    assert.equal(recordableType(true, undefined), undefined);
    assert.throws(() => new Scene([]), { name: "NotSupportedError" });
  });

  test("begins a recording with a reset, marks its header and its entry points, and asks for key frames", async () => {
    const scene = new Scene();
    const { recorder, recorders, streamer } = scene;
    recorder.start();
    await scene.records(HEADER, KEY);
    await scene.records(REST);
    assert.deepEqual(streamer.said, ["reset", "header", HEADER.length, "entry", KEY.length, REST.length]);
    const { options, timeslice } = recorders[0];
    assert.ok(timeslice <= 250);
    assert.equal(options.videoKeyFrameIntervalDuration, 1000);
    assert.equal(options.videoBitsPerSecond, QUALITIES.get("low").video);
    assert.equal(recorder.bytes, HEADER.length + KEY.length + REST.length);
  });

  test("drops up to a key frame that finds room, when the line cannot carry it", async () => {
    const scene = await new Scene().broadcasting();
    const { streamer, recorder } = scene;
    streamer.unacceptedBytes = 10_000_000;
    await scene.records(REST, KEY, REST);
    assert.deepEqual(streamer.said, []);
    streamer.unacceptedBytes = 0;
    await scene.records(REST);
    assert.deepEqual(streamer.said, []);
    assert.equal(recorder.dropped, 4);
    await scene.records(KEY, REST);
    assert.deepEqual(streamer.said, ["entry", KEY.length, REST.length]);
  });

  test("goes on at the next key frame after one that was too large", async () => {
    const scene = await new Scene().broadcasting();
    await scene.records(cluster(block(2, { key: true, filling: 1001 })));
    await scene.records(REST);
    await scene.records(KEY);
    assert.deepEqual(scene.streamer.said, ["entry", KEY.length]);
    assert.equal(scene.recorder.dropped, 2);
  });

  test("begins a new recording when the server lost the old one, and not when only a socket was lost", async () => {
    const scene = await new Scene().broadcasting();
    scene.streamer.ready(false);
    assert.equal(scene.recorders.length, 1);
    const [former] = scene.recorders;
    former.ondataavailable({ data: new Blob([REST]) });
    scene.streamer.ready(true);
    assert.equal(former.state, "inactive");
    await scene.records(HEADER, KEY);
    assert.deepEqual(scene.streamer.said, ["reset", "header", HEADER.length, "entry", KEY.length]);
  });

  test("that was stopped sends nothing more", async () => {
    const scene = await new Scene().broadcasting();
    assert.equal(scene.streamer.perishable, true);
    scene.recorder.stop();
    await scene.records(KEY);
    scene.streamer.ready(true);
    assert.deepEqual([scene.streamer.said, scene.recorders.length, scene.streamer.perishable], [[], 1, false]);
  });

  test("that fails, or records something else, says so once", async () => {
    const scene = await new Scene().broadcasting();
    const told = [];
    scene.recorder.addEventListener("broken", ({ detail }) => told.push(detail.message));
    await scene.records(new Uint8Array(100));
    assert.equal(told.length, 1);
    assert.equal(scene.recorders[0].state, "inactive");
  });

  test("counts what it hands over in the last two seconds", async () => {
    const scene = new Scene();
    scene.recorder.start();
    scene.now = 1000;
    await scene.records(HEADER, KEY);
    assert.equal(scene.recorder.rate, (HEADER.length + KEY.length) * 4);
    assert.equal(scene.recorder.seconds, 1);
    scene.now = 4000;
    assert.equal(scene.recorder.rate, 0);
  });
});

test("a quality says what it takes of a line", () => {
  assert.equal(qualityWords(QUALITIES.get("low")), "Low: 640 × 360, 24 frames/s, 664 kbit/s");
  assert.equal(rate(1_250_000), "1.3 Mbit/s");
});
