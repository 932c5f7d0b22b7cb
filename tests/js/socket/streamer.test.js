import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { Streamer } from "../../../static/broadcast/socket/streamer.js";
import { record, settle, World } from "../fakes.js";

class Scene extends World {
  constructor(options = {}) {
    super();
    this.streamer = new Streamer("ws://host/ws/streamer/news/", { ...this.options, ...options });
    this.heard = record(this.streamer, "ready", "accepted", "listeners", "error");
    this.streamer.open();
  }

  ready(accepted = 0, { epoch = "e1", offset = accepted } = {}) {
    this.socket.accept();
    this.socket.tell({ event: "ready", stream: "news", epoch, offset, accepted });
    return this;
  }

  accept(accepted, offset = accepted) {
    this.socket.tell({ event: "accepted", accepted, offset });
  }

  cut() {
    this.socket.drop();
    return this.wait();
  }

  wait() {
    this.clock.advance(this.streamer.state.seconds * 1000);
    return this;
  }

  send(...texts) {
    return Promise.all(texts.map((text) => this.streamer.send(text)));
  }

  /** What this connection was given, in short: texts as they are, events by their name, binary as its bytes. */
  get given() {
    return this.socket.sent.map((frame) => {
      if (typeof frame !== "string") return frame;
      const event = JSON.parse(frame);
      return event.event === "publication" ? event.data : (event.as ?? event.event);
    });
  }
}

async function isPending(promise) {
  let pending = true;
  promise.then(() => (pending = false), () => (pending = false));
  await settle();
  return pending;
}

describe("a recording", () => {
  test("is sent again after a lost socket", async () => {
    const scene = new Scene().ready();
    scene.streamer.perishable = true;
    await scene.send("a", "b");
    scene.accept(1);
    scene.cut().ready(1);
    assert.deepEqual(scene.given, ["b"]);
  });

  test("is dropped, as far as it was not accepted, when a new history begins", async () => {
    const scene = new Scene().ready();
    scene.streamer.perishable = true;
    await scene.send("a", "b");
    scene.accept(1);
    scene.streamer.mark("entry");
    assert.equal(scene.streamer.unacceptedBytes, '{"event":"publication","data":"b"}'.length);
    scene.cut().ready(0, { epoch: "e2" });
    assert.deepEqual(scene.given, []);
    assert.equal(scene.streamer.unacceptedBytes, 0);
    await scene.streamer.settled();
    await scene.send("c");
    assert.deepEqual(scene.given, ["c"]);
    scene.accept(1);
    assert.equal(scene.streamer.accepted, 3);
  });
});

describe("sending", () => {
  test("a text, JSON and bytes are the frames of broadcast.v1", async () => {
    const scene = new Scene().ready();
    await scene.streamer.send("hello");
    await scene.streamer.sendJSON({ a: 1 });
    await scene.streamer.sendJSON(null);
    await scene.streamer.sendBinary(new Uint8Array([1, 2]).subarray(1));
    await scene.streamer.sendBinary(new Uint8Array([3]).buffer);
    await scene.streamer.sendBinary(new Blob(["xy"]));
    const { sent } = scene.socket;
    assert.deepEqual(sent.slice(0, 3).map((frame) => JSON.parse(frame)), [
      { event: "publication", data: "hello" },
      { event: "publication", data: { a: 1 } },
      { event: "publication", data: null },
    ]);
    assert.deepEqual(new Uint8Array(sent[3]), new Uint8Array([2]));
    assert.deepEqual(new Uint8Array(sent[4]), new Uint8Array([3]));
    assert.equal(await sent[5].text(), "xy");
  });

  test("resolves with the number of the publication in its run", async () => {
    const scene = new Scene().ready();
    assert.deepEqual(await scene.send("a", "b"), [1, 2]);
  });

  test("names the run in the address, the same one after every reconnect, another one for another streamer", () => {
    const scene = new Scene();
    const run = new URL(scene.socket.url).searchParams.get("run");
    assert.match(run, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    scene.cut();
    assert.equal(new URL(scene.socket.url).searchParams.get("run"), run);
    assert.notEqual(new Scene().streamer.run, run);
  });

  test("waits for ready, not only for an open socket", async () => {
    const scene = new Scene();
    const sent = scene.send("a");
    scene.socket.accept();
    assert.ok(await isPending(sent));
    assert.deepEqual(scene.given, []);
    scene.ready();
    await sent;
    assert.deepEqual(scene.given, ["a"]);
  });

  test("bytes are taken as they were, whatever the caller does with the buffer after", async () => {
    const scene = new Scene();
    const bytes = new Uint8Array([1]);
    const sent = scene.streamer.sendBinary(bytes);
    bytes[0] = 9;
    scene.ready();
    await sent;
    assert.deepEqual(new Uint8Array(scene.socket.sent[0]), new Uint8Array([1]));
  });

  test("what is larger than the server accepts is refused here, and the run goes on", async () => {
    const scene = new Scene({ frameLimit: 100 }).ready();
    await assert.rejects(scene.streamer.send("ö".repeat(40)), RangeError);
    await assert.rejects(scene.streamer.sendBinary(new ArrayBuffer(101)), RangeError);
    assert.deepEqual(await scene.send("fits"), [1]);
    assert.deepEqual(scene.given, ["fits"]);
  });

  test("half a surrogate pair becomes the replacement character, and nothing else changes", async () => {
    const scene = new Scene().ready();
    await scene.send("a\ud800b\udfff\udbff", "\\ud800 \u{1f600}");
    await scene.streamer.sendJSON({ "\ud800": ["\\\ud800"] });
    assert.deepEqual(scene.given, ["a\ufffdb\ufffd\ufffd", "\\ud800 \u{1f600}", { "\ufffd": ["\\\ufffd"] }]);
  });

  test("a value without JSON is refused", async () => {
    await assert.rejects(new Scene().ready().streamer.sendJSON(undefined), TypeError);
  });

  test("a server that speaks something else ends it", () => {
    const scene = new Scene();
    scene.socket.accept("");
    assert.equal(scene.streamer.state.name, "gone");
  });
});

describe("exactly once across reconnects", () => {
  test("only what the server has not accepted is sent again, in order", async () => {
    const scene = new Scene().ready();
    await scene.send("a", "b", "c", "d");
    scene.accept(1);
    scene.cut().ready(3);
    assert.deepEqual(scene.given, ["d"]);
    assert.equal(scene.streamer.accepted, 3);
  });

  test("what was sent while the connection was away follows what is sent again", async () => {
    const scene = new Scene().ready();
    await scene.send("a", "b");
    scene.socket.drop();
    const later = scene.send("c");
    scene.wait().ready(1);
    await later;
    assert.deepEqual(scene.given, ["b", "c"]);
  });

  test("nothing is sent again when all of it is in", async () => {
    const scene = new Scene().ready();
    await scene.send("a", "b");
    scene.cut().ready(2);
    assert.deepEqual(scene.given, []);
    assert.equal(scene.streamer.accepted, 2);
  });

  test("everything is sent again when nothing of it is in", async () => {
    const scene = new Scene().ready();
    await scene.send("a", "b");
    scene.cut().ready(0);
    scene.cut().ready(0);
    assert.deepEqual(scene.given, ["a", "b"]);
  });

  test("a mark or reset goes with its publication when that is sent again", async () => {
    const scene = new Scene().ready();
    await scene.send("a");
    scene.streamer.reset();
    scene.streamer.mark("header");
    await scene.send("head", "b");
    scene.streamer.mark("entry");
    await scene.send("c");
    assert.deepEqual(scene.given, ["a", "reset", "header", "head", "b", "entry", "c"]);
    scene.cut().ready(1);
    assert.deepEqual(scene.given, ["reset", "header", "head", "b", "entry", "c"]);
    scene.cut().ready(2);
    assert.deepEqual(scene.given, ["b", "entry", "c"]);
    scene.cut().ready(4);
    assert.deepEqual(scene.given, []);
  });

  test("a mark that was told before its publication is told again on the next connection", async () => {
    const scene = new Scene().ready();
    scene.streamer.mark("header");
    assert.deepEqual(scene.given, ["header"]);
    scene.cut().ready(0);
    await scene.send("head");
    assert.deepEqual(scene.given, ["header", "head"]);
  });

  test("a mark made while the connection is away precedes its own publication and no other", async () => {
    const scene = new Scene();
    const first = scene.send("a");
    scene.streamer.mark("header");
    const second = scene.send("head");
    scene.ready();
    await Promise.all([first, second]);
    assert.deepEqual(scene.given, ["a", "header", "head"]);
  });

  test("an unknown mark is refused", () => {
    assert.throws(() => new Scene().streamer.mark("footer"), TypeError);
  });

  test("a run that was begun elsewhere goes on behind what the server has of it", async () => {
    const scene = new Scene({ run: "5f0c6c7e-2d3b-4d7e-9c1a-111111111111" }).ready(7);
    assert.deepEqual(await scene.send("a"), [1]);
    assert.equal(scene.streamer.accepted, 0);
    scene.accept(8);
    assert.equal(scene.streamer.accepted, 1);
  });
});

describe("a server that lost its memory", () => {
  test("gets what was not accepted, and nothing of what was", async () => {
    const scene = new Scene().ready();
    await scene.send("a", "b", "c");
    scene.accept(2);
    scene.cut().ready(0, { epoch: "e2" });
    assert.deepEqual(scene.given, ["c"]);
    assert.equal(scene.streamer.accepted, 2);
    assert.equal(scene.heard.at(-1)[1].newHistory, true);
  });

  test("counts from its own beginning: the base between the two counts is kept", async () => {
    const scene = new Scene().ready();
    await scene.send("a", "b", "c");
    scene.accept(2);
    scene.cut().ready(0, { epoch: "e2" });
    scene.accept(1);
    assert.equal(scene.streamer.accepted, 3);
    await scene.send("d", "e");
    scene.cut().ready(2, { epoch: "e2" });
    assert.deepEqual(scene.given, ["e"]);
    assert.equal(scene.streamer.accepted, 4);
  });

  test("may lose it again and again", async () => {
    const scene = new Scene().ready();
    for (const [i, text] of ["a", "b", "c"].entries()) {
      await scene.send(text);
      scene.accept(1);
      assert.equal(scene.streamer.accepted, i + 1);
      scene.cut().ready(0, { epoch: `e${i + 2}` });
      assert.deepEqual(scene.given, []);
    }
  });

  test("or that claims more than it was ever sent, makes nothing that waits count as accepted", async () => {
    const scene = new Scene().ready();
    await scene.send("a");
    scene.accept(1);
    scene.socket.drop();
    const waiting = scene.send("b");
    scene.wait().ready(9);
    await waiting;
    assert.deepEqual(scene.given, ["b"]);
    assert.equal(scene.streamer.accepted, 1);
  });

  test("is told apart from a plain reconnect", () => {
    const scene = new Scene().ready();
    scene.cut().ready();
    scene.cut().ready(0, { epoch: "e2" });
    assert.deepEqual(scene.heard.map(([, { newHistory }]) => newHistory), [false, false, true]);
  });
});

describe("back-pressure", () => {
  test("a send waits while the socket's buffer is above the limit", async () => {
    const scene = new Scene({ bufferLimit: 1000 }).ready();
    scene.socket.bufferedAmount = 1001;
    const sent = scene.send("a");
    assert.ok(await isPending(sent));
    scene.clock.advance(1000);
    assert.deepEqual(scene.given, []);
    scene.socket.bufferedAmount = 1000;
    scene.clock.advance(20);
    await sent;
    assert.deepEqual(scene.given, ["a"]);
  });

  test("no more publications are under way than the limit", async () => {
    const scene = new Scene({ unacceptedLimit: 2 }).ready();
    const sent = ["a", "b", "c", "d"].map((text) => scene.streamer.send(text));
    assert.deepEqual(scene.given, ["a", "b"]);
    assert.ok(await isPending(sent[2]));
    scene.accept(1);
    await sent[2];
    assert.deepEqual(scene.given, ["a", "b", "c"]);
    scene.accept(3);
    assert.deepEqual(await Promise.all(sent), [1, 2, 3, 4]);
  });

  test("no more bytes are under way than the limit, but one publication always may be", async () => {
    const scene = new Scene({ unacceptedBytes: 10 }).ready();
    const sent = [20, 6, 4, 1].map((bytes) => scene.streamer.sendBinary(new ArrayBuffer(bytes)));
    const sizes = () => scene.socket.sent.map(({ byteLength }) => byteLength);
    assert.deepEqual(sizes(), [20]);
    scene.accept(1);
    assert.deepEqual(sizes(), [20, 6, 4]);
    scene.accept(3);
    await Promise.all(sent);
    assert.deepEqual(sizes(), [20, 6, 4, 1]);
  });

  test("what is sent again respects the limits too", async () => {
    const scene = new Scene({ unacceptedLimit: 2 }).ready();
    const sent = scene.send("a", "b", "c", "d");
    scene.cut().ready(0);
    assert.deepEqual(scene.given, ["a", "b"]);
    scene.accept(2);
    assert.deepEqual(scene.given, ["a", "b", "c", "d"]);
    await sent;
  });
});

describe("what the server tells", () => {
  test("accepted, with the offset in the stream", async () => {
    const scene = new Scene().ready(0, { offset: 40 });
    await scene.send("a", "b");
    scene.accept(2, 42);
    assert.deepEqual(scene.heard.at(-1), ["accepted", { accepted: 2, offset: 42 }]);
    assert.deepEqual(scene.streamer.position, { epoch: "e1", offset: 42 });
  });

  test("listeners and errors", () => {
    const scene = new Scene().ready();
    scene.socket.tell({ event: "listeners", count: 3 });
    scene.socket.tell({ event: "error", message: "no" });
    scene.socket.hear("{");
    scene.socket.hear("null");
    scene.socket.hear(new ArrayBuffer(3));
    assert.deepEqual(scene.heard.slice(1, 3), [
      ["listeners", { count: 3 }],
      ["error", { message: "no" }],
    ]);
    assert.deepEqual(scene.heard.slice(3).map(([type]) => type), ["error", "error"]);
    assert.equal(scene.streamer.listeners, 3);
  });

  test("shutdown: the return is spread over its seconds", () => {
    const scene = new Scene().ready();
    scene.socket.tell({ event: "shutdown", seconds: 8 });
    scene.socket.drop(4200);
    assert.equal(scene.streamer.state.seconds, 4);
  });

  test("replaced: gone, and whoever waits is told so", async () => {
    const scene = new Scene();
    const waiting = assert.rejects(scene.streamer.send("a"), /took over/);
    const settled = assert.rejects(scene.streamer.settled(), /took over/);
    scene.socket.accept();
    scene.socket.drop(4501);
    await Promise.all([waiting, settled]);
    await assert.rejects(scene.streamer.send("b"), /took over/);
    assert.equal(scene.streamer.state.name, "gone");
  });

  test("closing rejects what waits", async () => {
    const scene = new Scene();
    const waiting = assert.rejects(scene.streamer.send("a"), /closed/);
    scene.streamer.close();
    await waiting;
  });

  test("settled resolves when all that was sent before is in", async () => {
    const scene = new Scene().ready();
    await scene.streamer.settled();
    await scene.send("a", "b");
    const settled = scene.streamer.settled();
    scene.accept(1);
    assert.ok(await isPending(settled));
    scene.accept(2);
    await settled;
  });
});

describe("a file", () => {
  const file = new Blob(["0123456789"]);

  async function chunks(scene) {
    const sent = scene.socket.sent.filter((frame) => typeof frame !== "string");
    return sent.map((frame) => new TextDecoder().decode(frame));
  }

  /** A server that accepts whatever it is given. */
  function accepting(scene) {
    const { socket } = scene;
    const send = socket.send.bind(socket);
    socket.send = (frame) => {
      send(frame);
      queueMicrotask(() => scene.accept(socket.sent.length));
    };
  }

  test("goes in chunks, and is through when the server has all of them", async () => {
    const scene = new Scene().ready();
    accepting(scene);
    const progress = [];
    await scene.streamer.sendFile(file, { chunkSize: 4, onprogress: (step) => progress.push(step) });
    assert.deepEqual(await chunks(scene), ["0123", "4567", "89"]);
    assert.deepEqual(progress.at(-1), { sent: 10, accepted: 10, total: 10 });
    const accepted = progress.map((step) => step.accepted);
    assert.deepEqual(accepted, [...accepted].sort((a, b) => a - b));
  });

  test("an empty one is through at once", async () => {
    await new Scene().ready().streamer.sendFile(new Blob([]));
  });

  test("other publications between its chunks do not count as progress", async () => {
    const scene = new Scene({ unacceptedLimit: 2 }).ready();
    const progress = [];
    const sending = scene.streamer.sendFile(file, { chunkSize: 5, onprogress: (step) => progress.push(step) });
    const text = scene.send("between");
    await settle();
    scene.accept(1);
    await settle();
    assert.deepEqual(progress.at(-1).accepted, scene.given[0] === "between" ? 0 : 5);
    scene.accept(3);
    await Promise.all([sending, text]);
    assert.equal(progress.at(-1).accepted, 10);
  });

  test("that is cancelled stops at once, even while nothing can be sent", async () => {
    const scene = new Scene();
    const cancel = new AbortController();
    const sending = scene.streamer.sendFile(file, { chunkSize: 4, signal: cancel.signal });
    await settle();
    cancel.abort();
    await assert.rejects(sending, { name: "AbortError" });
    scene.ready();
    await settle();
    assert.ok((await chunks(scene)).length <= 1);
  });

  test("that was cancelled before it began sends nothing", async () => {
    const scene = new Scene().ready();
    await assert.rejects(scene.streamer.sendFile(file, { signal: AbortSignal.abort() }), { name: "AbortError" });
    assert.deepEqual(scene.socket.sent, []);
  });
});
