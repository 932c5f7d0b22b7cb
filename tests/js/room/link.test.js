import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { Link } from "../../../static/broadcast/room/link.js";
import { record, settle } from "../fakes.js";

class FakeStream {
  #tracks = [];

  getTracks() {
    return this.#tracks;
  }

  addTrack(track) {
    this.#tracks.push(track);
  }
}

class FakeSender {
  streams = [];
  constructor(track) {
    this.track = track;
  }

  async replaceTrack(track) {
    this.track = track;
  }

  setStreams(...streams) {
    this.streams = streams;
  }
}

/** A connection whose offers and answers are numbered, and which negotiates nothing by itself. */
class FakeConnection {
  connectionState = "new";
  signalingState = "stable";
  localDescription = null;
  remoteDescription = null;
  transceivers = [];
  channels = [];
  candidates = [];
  restarts = 0;
  isClosed = false;

  addTransceiver(trackOrKind, { direction, streams }) {
    const track = typeof trackOrKind === "string" ? null : trackOrKind;
    const kind = track?.kind ?? trackOrKind;
    const transceiver = { sender: new FakeSender(track), receiver: { track: { kind } }, direction, streams };
    this.transceivers.push(transceiver);
    return transceiver;
  }

  getTransceivers() {
    return this.transceivers;
  }

  createDataChannel(label, options) {
    const channel = { label, options, readyState: "connecting", sent: [], send: (text) => channel.sent.push(JSON.parse(text)) };
    this.channels.push(channel);
    return channel;
  }

  async setLocalDescription() {
    const type = this.signalingState === "have-remote-offer" ? "answer" : "offer";
    this.signalingState = type === "offer" ? "have-local-offer" : "stable";
    this.localDescription = { type, sdp: `my ${type}` };
  }

  async setRemoteDescription(description) {
    if (description.sdp === "nonsense") throw new Error("This is no description.");
    this.signalingState = description.type === "offer" ? "have-remote-offer" : "stable";
    this.remoteDescription = description;
    if (description.type === "offer" && this.transceivers.length === 0) {
      for (const kind of this.offered ?? ["audio", "video"]) {
        const transceiver = this.addTransceiver(kind, { direction: "recvonly" });
        transceiver.sender.track = null;
      }
    }
  }

  async addIceCandidate(candidate) {
    if (!this.remoteDescription) throw new Error("There is no description.");
    this.candidates.push(candidate);
  }

  restartIce() {
    this.restarts += 1;
  }

  close() {
    this.isClosed = true;
  }

  become(state) {
    this.connectionState = state;
    this.onconnectionstatechange();
  }
}

class Scene {
  sent = [];
  media = { stream: new FakeStream(), audioTrack: { kind: "audio" }, videoTrack: null };

  constructor({ offers = false, isPolite = false } = {}) {
    const scene = this;
    this.link = new Link({
      offers,
      isPolite: () => isPolite,
      send: (data) => this.sent.push(data),
      greetings: () => [{ event: "here", peer_id: "me", visit: "mine" }],
      media: this.media,
      MediaStream: FakeStream,
      RTCPeerConnection: class extends FakeConnection {
        constructor() {
          super();
          scene.connection = this;
        }
      },
    });
    this.told = record(this.link, "here", "gone", "change");
  }

  async offer() {
    this.connection.onnegotiationneeded();
    await settle();
    return this;
  }

  async receive(type, sdp = `their ${type}`) {
    await this.link.receive({ event: type, sdp: { type, sdp } });
  }

  openChannel() {
    const [channel] = this.connection.channels;
    channel.readyState = "open";
    channel.onopen();
    return channel;
  }
}

function quietly(work) {
  const { warn } = console;
  const warned = [];
  console.warn = (...words) => warned.push(words);
  return work().finally(() => (console.warn = warn)).then(() => warned);
}

describe("the side that offers", () => {
  test("has a line for sound and one for pictures, whatever it sends, and a data channel", () => {
    const { connection, media } = new Scene({ offers: true });
    assert.deepEqual(
      connection.transceivers.map(({ sender, receiver, direction }) => [receiver.track.kind, sender.track, direction]),
      [["audio", media.audioTrack, "sendrecv"], ["video", null, "sendrecv"]],
    );
    assert.deepEqual(connection.channels.map(({ options }) => options), [{ negotiated: true, id: 0 }]);
  });

  test("says it as clients of palava do, and which connection it is", async () => {
    const { sent, link, connection } = await new Scene({ offers: true }).offer();
    connection.onicecandidate({ candidate: { candidate: "c", sdpMLineIndex: 0, sdpMid: "0" } });
    connection.onicecandidate({ candidate: null });
    assert.match(link.id, /^[0-9a-f-]{36}$/);
    assert.deepEqual(sent, [
      { event: "offer", sdp: { type: "offer", sdp: "my offer" }, link: link.id },
      { event: "ice_candidate", sdpmlineindex: 0, sdpmid: "0", candidate: "c", link: link.id },
    ]);
  });
});

describe("the side that answers", () => {
  test("sends over the lines that were offered", async () => {
    const scene = new Scene();
    scene.link.id = "theirs";
    await scene.receive("offer");
    const { transceivers } = scene.connection;
    assert.deepEqual(transceivers.map(({ direction }) => direction), ["sendrecv", "sendrecv"]);
    assert.deepEqual(transceivers.map(({ sender }) => sender.track), [scene.media.audioTrack, null]);
    assert.deepEqual(scene.sent, [{ event: "answer", sdp: { type: "answer", sdp: "my answer" }, link: "theirs" }]);
  });

  test("has no data channel with a client of palava's, which said nothing of a link", async () => {
    const scene = new Scene();
    await scene.receive("offer");
    assert.deepEqual(scene.connection.channels, []);
    assert.equal("link" in scene.sent[0], false);
  });

  test("adds the line that was not offered", async () => {
    const scene = new Scene();
    scene.connection.offered = ["audio"];
    await scene.receive("offer");
    assert.deepEqual(scene.connection.transceivers.map(({ receiver }) => receiver.track.kind), ["audio", "video"]);
  });
});

describe("when both offer at once", () => {
  test("the polite side takes the other's offer", async () => {
    const scene = await new Scene({ offers: true, isPolite: true }).offer();
    await scene.receive("offer");
    assert.equal(scene.sent.at(-1).event, "answer");
  });

  test("the other one leaves it out, with its candidates, and takes the answer", async () => {
    const scene = await new Scene({ offers: true }).offer();
    const warned = await quietly(async () => {
      await scene.receive("offer");
      await scene.link.receive({ event: "ice_candidate", candidate: "of the offer", sdpmid: "0", sdpmlineindex: 0 });
      await scene.receive("answer");
    });
    assert.deepEqual([scene.sent.length, warned], [1, []]);
    assert.equal(scene.connection.remoteDescription.type, "answer");
  });
});

describe("what is lost", () => {
  test("a connection that failed is mended, as often as it fails", () => {
    const { connection } = new Scene({ offers: true });
    for (const state of ["connected", "failed", "connecting", "failed"]) connection.become(state);
    assert.equal(connection.restarts, 2);
  });

  test("an offer that nobody answered is said again when signalling works again", async () => {
    const scene = await new Scene({ offers: true }).offer();
    scene.link.resume();
    assert.deepEqual(scene.sent.map(({ event }) => event), ["offer", "offer"]);
    await scene.receive("answer");
    scene.link.resume();
    assert.equal(scene.sent.length, 2);
  });
});

describe("what makes no sense", () => {
  test("is told in the console and changes nothing", async () => {
    const scene = new Scene({ offers: true });
    const warned = await quietly(async () => {
      await scene.receive("offer", "nonsense");
      await scene.link.receive({ event: "ice_candidate", candidate: "too early" });
      await scene.link.receive({ event: "offer", sdp: { type: "answer", sdp: "x" } });
      await scene.link.receive({ event: "offer" });
      await scene.link.receive({ event: "ice_candidate", candidate: { not: "text" } });
      await scene.link.receive({ event: "ice_candidate", candidate: "" });
    });
    assert.equal(warned.length, 2);
    assert.deepEqual(scene.sent, []);
  });
});

describe("the data channel", () => {
  test("says who we are when it opens, and hears who the other one is and what it sends", () => {
    const { link, told, ...scene } = Object.assign(new Scene({ offers: true }));
    const channel = { ...scene }.connection.channels[0];
    channel.readyState = "open";
    channel.onopen();
    assert.deepEqual(channel.sent, [{ event: "here", peer_id: "me", visit: "mine" }]);
    assert.deepEqual([link.isOurs, link.told], [false, null]);
    channel.onmessage({ data: '{"event":"here","peer_id":"b","visit":"theirs"}' });
    channel.onmessage({ data: '{"event":"sending","microphone":true,"camera":1}' });
    for (const data of ["no JSON", "null", "[]", '{"event":"new"}']) channel.onmessage({ data });
    assert.deepEqual(told[0], ["here", { peerId: "b", visit: "theirs" }]);
    assert.deepEqual([link.isOurs, link.told], [true, { microphone: true, camera: false, screen: false }]);
  });

  test("a link is alive while it is open and the media may arrive", () => {
    const scene = new Scene({ offers: true });
    const channel = scene.openChannel();
    const alive = ["new", "connecting", "connected", "disconnected", "failed"].filter((state) => {
      scene.connection.become(state);
      return scene.link.isAlive;
    });
    assert.deepEqual(alive, ["connected", "disconnected"]);
    channel.readyState = "closed";
    channel.onclose();
    assert.equal(scene.link.isAlive, false);
    assert.equal(scene.told.at(-1)[0], "gone");
  });

  test("when it is we who close, nothing is told any more", () => {
    const scene = new Scene({ offers: true });
    const channel = scene.openChannel();
    scene.told.length = 0;
    scene.link.close();
    channel.onclose?.();
    assert.deepEqual([scene.told, scene.connection.isClosed, scene.link.state], [[], true, "closed"]);
  });
});

describe("tracks", () => {
  test("they are replaced without negotiating", async () => {
    const scene = await new Scene({ offers: true }).offer();
    const video = { kind: "video" };
    await scene.link.replaceTracks({ audioTrack: null, videoTrack: video });
    assert.deepEqual(scene.connection.transceivers.map(({ sender }) => sender.track), [null, video]);
    assert.equal(scene.sent.length, 1);
  });

  test("of each kind that comes the first is shown", () => {
    const scene = new Scene();
    for (const kind of ["audio", "video", "video"]) scene.connection.ontrack({ track: { kind } });
    assert.deepEqual(scene.link.stream.getTracks().map(({ kind }) => kind), ["audio", "video"]);
  });
});
