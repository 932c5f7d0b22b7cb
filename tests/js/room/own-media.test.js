import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { Media } from "../../../static/broadcast/room/own-media.js";
import { troubleWords } from "../../../static/broadcast/room/words.js";
import { FakeClock } from "../fakes.js";

class FakeTrack {
  enabled = true;
  isStopped = false;

  constructor(kind, deviceId = `${kind} 1`) {
    this.kind = kind;
    this.deviceId = deviceId;
  }

  getSettings() {
    return { deviceId: this.deviceId };
  }

  stop() {
    this.isStopped = true;
  }
}

class FakeStream {
  constructor(tracks = []) {
    this.tracks = tracks;
  }

  getTracks() {
    return this.tracks;
  }

  getVideoTracks() {
    return this.tracks.filter(({ kind }) => kind === "video");
  }
}

/** Devices, and what a person answers who is asked for them. */
class Devices extends EventTarget {
  errors = {}; // kind → name of an error
  states = {}; // kind → state of the permission
  asked = [];
  clock = new FakeClock();

  async getUserMedia({ audio, video }) {
    const wanted = [...(audio ? ["microphone"] : []), ...(video ? ["camera"] : [])];
    this.asked.push({ audio, video });
    for (const kind of wanted) if (this.errors[kind]) throw new DOMException("", this.errors[kind]);
    const id = (constraint, kind) => new FakeTrack(kind, constraint.deviceId?.exact);
    return new FakeStream([...(audio ? [id(audio, "audio")] : []), ...(video ? [id(video, "video")] : [])]);
  }

  async getDisplayMedia() {
    if (this.errors.screen) throw new DOMException("", this.errors.screen);
    return new FakeStream([new FakeTrack("video")]);
  }

  async enumerateDevices() {
    return [
      { kind: "audioinput", deviceId: "audio 1", label: "Headset" },
      { kind: "videoinput", deviceId: "video 1", label: "Front" },
      { kind: "videoinput", deviceId: "video 2", label: "" },
    ];
  }

  get browser() {
    const permissions = { query: async ({ name }) => ({ state: this.states[name] ?? "prompt" }) };
    const setTimeout = (...given) => this.clock.setTimeout(...given);
    return { mediaDevices: this, permissions, MediaStream: FakeStream, setTimeout };
  }

  get kinds() {
    return this.asked.map(({ audio, video }) => [audio && "audio", video && "video"].filter(Boolean).join("+"));
  }
}

async function started(prepare = () => {}) {
  const devices = new Devices();
  prepare(devices);
  const media = new Media(devices.browser);
  await media.start();
  return { devices, media };
}

describe("asking", () => {
  test("both are asked for together", async () => {
    const { devices, media } = await started();
    assert.deepEqual(devices.kinds, ["audio+video"]);
    assert.deepEqual(media.sending, { microphone: true, camera: true, screen: false });
    assert.deepEqual(media.devices.camera, [{ id: "video 1", label: "Front" }]);
    assert.equal(media.chosen.camera, "video 1");
  });

  for (const name of ["NotFoundError", "NotReadableError"]) {
    test(`with ${name} of the camera the microphone is had alone`, async () => {
      const { devices, media } = await started(({ errors }) => (errors.camera = name));
      assert.deepEqual(devices.kinds, ["audio+video", "audio", "video"]);
      assert.deepEqual([media.isMicrophoneOn, media.isCameraOn], [true, false]);
      assert.deepEqual([media.troubles.microphone, media.troubles.camera.name], [null, name]);
    });
  }

  test("who says no to both is not asked again", async () => {
    const { devices, media } = await started(({ errors }) => {
      errors.microphone = errors.camera = "NotAllowedError";
    });
    assert.deepEqual(devices.kinds, ["audio+video"]);
    assert.equal(media.troubles.camera.name, "NotAllowedError");
    assert.equal(media.isAsking, false);
  });

  test("who once said no to the camera alone is asked for the microphone", async () => {
    const { devices, media } = await started(({ errors, states }) => {
      errors.camera = "NotAllowedError";
      states.camera = "denied";
    });
    assert.deepEqual(devices.kinds, ["audio+video", "audio"]);
    assert.equal(media.isMicrophoneOn, true);
  });

  test("a page that browsers do not trust has none, and says so", async () => {
    const { browser } = new Devices();
    const media = new Media({ ...browser, mediaDevices: undefined });
    await media.start();
    assert.deepEqual([media.troubles.camera.name, media.canShareScreen], ["InsecureError", false]);
  });

  test("another try that works ends the trouble", async () => {
    const { devices, media } = await started(({ errors }) => (errors.camera = "NotReadableError"));
    devices.errors = {};
    await media.setCamera(true);
    assert.deepEqual([media.isCameraOn, media.troubles.camera], [true, null]);
  });
});

describe("switching", () => {
  test("a microphone that is off stays open", async () => {
    const { devices, media } = await started();
    await media.setMicrophone(false);
    assert.deepEqual([media.isMicrophoneOn, media.audioTrack.isStopped], [false, false]);
    await media.setMicrophone(true);
    assert.deepEqual([media.isMicrophoneOn, devices.asked.length], [true, 1]);
  });

  test("a camera that is off shows black for a moment, and is let go", async () => {
    const { devices, media } = await started();
    const track = media.cameraTrack;
    await media.setCamera(false);
    assert.deepEqual([media.isCameraOn, media.videoTrack, track.enabled, track.isStopped], [false, track, false, false]);
    devices.clock.advance(300);
    assert.deepEqual([media.videoTrack, track.isStopped], [null, true]);
    await media.setCamera(true);
    assert.deepEqual(devices.kinds, ["audio+video", "video"]);
  });

  test("another device of a kind is used at once, and stays muted", async () => {
    const { devices, media } = await started();
    await media.setMicrophone(false);
    const before = media.audioTrack;
    await media.choose("microphone", "audio 2");
    assert.deepEqual(devices.asked.at(-1), { audio: { deviceId: { exact: "audio 2" } }, video: false });
    assert.deepEqual([before.isStopped, media.audioTrack.deviceId, media.isMicrophoneOn], [true, "audio 2", false]);
  });

  test("what is pressed fast is done in its order", async () => {
    const { media } = await started();
    await Promise.all([media.setCamera(false), media.setCamera(true), media.setCamera(false)]);
    assert.equal(media.isCameraOn, false);
  });

  test("a device that is unplugged is noticed", async () => {
    const { media } = await started();
    media.cameraTrack.onended();
    assert.deepEqual([media.isCameraOn, media.troubles.camera.name], [false, "UnpluggedError"]);
  });
});

describe("the screen", () => {
  test("is shown instead of the camera until somebody ends it", async () => {
    const { media } = await started();
    await media.shareScreen();
    assert.deepEqual([media.isScreenOn, media.videoTrack], [true, media.screenTrack]);
    await media.screenTrack.onended();
    assert.deepEqual([media.isScreenOn, media.videoTrack], [false, media.cameraTrack]);
  });

  test("nothing happens when the person chooses none", async () => {
    const { media } = await started(({ errors }) => (errors.screen = "NotAllowedError"));
    await media.shareScreen();
    assert.deepEqual([media.isScreenOn, media.troubles.camera], [false, null]);
  });
});

test("at the end everything is let go", async () => {
  const { media } = await started();
  const tracks = [media.audioTrack, media.cameraTrack];
  media.stop();
  assert.ok(tracks.every(({ isStopped }) => isStopped));
  assert.deepEqual(media.sending, { microphone: false, camera: false, screen: false });
});

describe("what to do about a trouble", () => {
  const names = ["NotAllowedError", "NotFoundError", "NotReadableError", "UnpluggedError", "InsecureError", "OddError"];

  test("each has words and advice of its own", () => {
    const said = names.map((name) => troubleWords(["camera"], new DOMException("It is odd", name)));
    assert.equal(new Set(said.map(({ title }) => title)).size, names.length);
    for (const { title, advice } of said) assert.match(`${title} ${advice}`, /^[A-Z].*\..*\.$/);
  });

  test("what the system forbids, the browser's button cannot allow", () => {
    const error = new DOMException("Permission denied by system", "NotAllowedError");
    assert.match(troubleWords(["camera"], error).advice, /system's settings/);
  });

  test("what both have is told once", () => {
    const { title } = troubleWords(["camera", "microphone"], new DOMException("", "NotFoundError"));
    assert.equal(title, "No camera or microphone was found.");
  });
});
