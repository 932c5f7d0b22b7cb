import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { Listener } from "../../../static/broadcast/socket/listener.js";
import { record, World } from "../fakes.js";

const EVENTS = ["joined", "publication", "skipped", "live", "idle", "reset", "error"];

class Scene extends World {
  constructor(options = {}) {
    super();
    this.listener = new Listener("ws://host/ws/listener/news/", { ...this.options, ...options });
    this.heard = record(this.listener, ...EVENTS);
    this.states = record(this.listener, "state");
    this.listener.open();
  }

  join(fields = {}) {
    this.socket.accept();
    this.socket.tell({
      event: "joined",
      stream: "news",
      epoch: "e1",
      offset: 0,
      live: true,
      recovered: false,
      content_type: null,
      ...fields,
    });
    return this;
  }

  publish(offset, data = `text ${offset}`) {
    this.socket.tell({ event: "publication", offset, data });
  }

  cut() {
    this.socket.drop();
    this.clock.advance(this.listener.state.seconds * 1000);
  }

  /** What was heard of one type, without its name. */
  all(type) {
    return this.heard.filter(([name]) => name === type).map(([, detail]) => detail);
  }

  get offsets() {
    return this.all("publication").map(({ offset }) => offset);
  }

  get query() {
    return new URL(this.socket.url).search;
  }
}

function binary(offset, ...bytes) {
  const frame = new Uint8Array(8 + bytes.length);
  new DataView(frame.buffer).setBigUint64(0, BigInt(offset));
  frame.set(bytes, 8);
  return frame.buffer;
}

describe("joining", () => {
  test("offers broadcast.v1, and a token beside it", () => {
    assert.deepEqual(new Scene().socket.protocols, ["broadcast.v1"]);
    assert.deepEqual(new Scene({ token: "t" }).socket.protocols, ["broadcast.v1", "token.t"]);
  });

  test("a token that no sub-protocol can be made of opens no socket, and is not repeated", () => {
    const scene = new Scene({ token: "a b" });
    assert.deepEqual(scene.sockets, []);
    assert.equal(scene.listener.state.name, "gone");
    assert.match(scene.listener.state.reason, /token/);
    assert.doesNotMatch(scene.listener.state.reason, /a b/);
  });

  test("asks for history when it was told to, else for nothing", () => {
    assert.equal(new Scene().query, "");
    assert.equal(new Scene({ history: 20 }).query, "?history=20");
  });

  test("tells what was joined", () => {
    const scene = new Scene().join({ offset: 7, content_type: "video/webm" });
    assert.deepEqual(scene.all("joined"), [
      {
        stream: "news",
        epoch: "e1",
        offset: 7,
        live: true,
        contentType: "video/webm",
        outcome: "first",
        missed: null,
      },
    ]);
    assert.deepEqual(scene.listener.position, { epoch: "e1", offset: 7 });
  });

  test("a server that speaks something else ends it", () => {
    const scene = new Scene();
    scene.socket.accept("");
    assert.equal(scene.listener.state.name, "gone");
    assert.match(scene.listener.state.reason, /broadcast\.v1/);
  });
});

describe("publications", () => {
  test("a string is a text, any other value is JSON, a binary frame is bytes after 8 bytes of offset", () => {
    const scene = new Scene().join();
    scene.publish(1, "hello");
    [{ a: [1] }, null, false, 0, ""].forEach((data, i) => scene.publish(2 + i, data));
    scene.socket.hear(binary(7, 1, 2, 255));
    scene.socket.hear(binary(8));
    assert.deepEqual(scene.all("publication"), [
      { offset: 1, data: "hello", kind: "text", header: false },
      { offset: 2, data: { a: [1] }, kind: "json", header: false },
      { offset: 3, data: null, kind: "json", header: false },
      { offset: 4, data: false, kind: "json", header: false },
      { offset: 5, data: 0, kind: "json", header: false },
      { offset: 6, data: "", kind: "text", header: false },
      { offset: 7, data: new Uint8Array([1, 2, 255]), kind: "binary", header: false },
      { offset: 8, data: new Uint8Array([]), kind: "binary", header: false },
    ]);
  });

  test("offsets beyond 32 bits are read from binary frames", () => {
    const offset = 2 ** 40 + 5;
    const scene = new Scene().join({ offset: offset - 1 });
    scene.socket.hear(binary(offset, 1));
    assert.deepEqual(scene.offsets, [offset]);
  });

  test("what was heard before is not heard twice", () => {
    const scene = new Scene().join();
    [1, 2, 2, 1, 3].forEach((offset) => scene.publish(offset));
    scene.socket.hear(binary(3, 1));
    assert.deepEqual(scene.offsets, [1, 2, 3]);
  });

  test("a gap that the server did not tell is told all the same, before what follows it", () => {
    const scene = new Scene().join({ offset: 10 });
    scene.publish(11);
    scene.publish(15);
    assert.deepEqual(scene.heard.slice(1).map(([type, { offset, from, to }]) => [type, offset ?? [from, to]]), [
      ["publication", 11],
      ["skipped", [12, 14]],
      ["publication", 15],
    ]);
  });

  test("skipped moves the position, so that no gap is told twice", () => {
    const scene = new Scene().join();
    scene.socket.tell({ event: "skipped", from: 1, to: 5 });
    scene.publish(6);
    assert.deepEqual(scene.all("skipped"), [{ from: 1, to: 5 }]);
    assert.deepEqual(scene.offsets, [6]);
  });

  test("a skip over something that was heard tells only the rest, or nothing", () => {
    const scene = new Scene().join();
    scene.publish(1);
    scene.socket.tell({ event: "skipped", from: 1, to: 3 });
    scene.socket.tell({ event: "skipped", from: 1, to: 3 });
    assert.deepEqual(scene.all("skipped"), [{ from: 2, to: 3 }]);
  });

  test("nonsense is an error and nothing else", () => {
    const scene = new Scene().join();
    scene.socket.hear("{");
    scene.socket.hear("null");
    scene.socket.hear('{"event":"something new"}');
    scene.socket.hear(new ArrayBuffer(3));
    scene.publish(1);
    assert.equal(scene.all("error").length, 2);
    assert.deepEqual(scene.offsets, [1]);
  });

  test("an error of the server is passed on", () => {
    const scene = new Scene().join();
    scene.socket.tell({ event: "error", message: "no" });
    assert.deepEqual(scene.all("error"), [{ message: "no" }]);
  });
});

describe("headers", () => {
  test("a newcomer's header is heard though it is older than where the newcomer starts", () => {
    const scene = new Scene().join({ offset: 49 });
    scene.socket.tell({ event: "header", offset: 10 });
    scene.socket.hear(binary(10, 1));
    scene.socket.hear(binary(50, 2));
    assert.deepEqual(
      scene.all("publication").map(({ offset, header }) => [offset, header]),
      [[10, true], [50, false]],
    );
    assert.deepEqual(scene.listener.position, { epoch: "e1", offset: 50 });
  });

  test("a header that comes live moves the position; only it is a header", () => {
    const scene = new Scene().join({ offset: 3 });
    scene.socket.tell({ event: "reset" });
    scene.socket.tell({ event: "header", offset: 4 });
    scene.publish(4);
    scene.publish(5);
    assert.equal(scene.all("reset").length, 1);
    assert.deepEqual(scene.all("publication").map(({ header }) => header), [true, false]);
    assert.deepEqual(scene.all("skipped"), []);
  });

  test("the same header is not heard twice", () => {
    const scene = new Scene().join({ offset: 49 });
    scene.socket.tell({ event: "header", offset: 10 });
    scene.socket.hear(binary(10, 1));
    scene.cut();
    scene.join({ offset: 80 });
    scene.socket.tell({ event: "header", offset: 10 });
    scene.socket.hear(binary(10, 1));
    assert.deepEqual(scene.offsets, [10]);
  });

  test("a header of a new history is heard though its offset was a header before", () => {
    const scene = new Scene().join();
    scene.socket.tell({ event: "header", offset: 1 });
    scene.publish(1);
    scene.cut();
    scene.join({ epoch: "e2", offset: 1 });
    scene.socket.tell({ event: "header", offset: 1 });
    scene.publish(1);
    assert.deepEqual(scene.offsets, [1, 1]);
  });
});

describe("resuming", () => {
  test("asks for what follows the last publication, and for history in case that is not possible", () => {
    const scene = new Scene({ history: 20 }).join();
    scene.publish(1);
    scene.publish(2);
    scene.cut();
    assert.equal(scene.query, "?history=20&epoch=e1&since=2");
  });

  test("asks from where it joined when nothing came since", () => {
    const scene = new Scene().join({ offset: 12 });
    scene.cut();
    assert.equal(scene.query, "?epoch=e1&since=12");
  });

  test("asks as a newcomer of a media stream while none of its segments came", () => {
    const scene = new Scene().join({ offset: 12, content_type: "video/webm" });
    scene.socket.tell({ event: "header", offset: 3 });
    scene.socket.hear(binary(3, 1));
    scene.cut();
    assert.equal(scene.query, "");
    scene.join({ offset: 14, content_type: "video/webm" });
    assert.deepEqual(scene.all("joined").at(-1).missed, { from: 13, to: 14 });
    scene.socket.hear(binary(15, 1));
    scene.cut();
    assert.equal(scene.query, "?epoch=e1&since=15");
  });

  test("asks as a newcomer when the first attempts failed", () => {
    const scene = new Scene({ history: 3 });
    scene.cut();
    assert.equal(scene.query, "?history=3");
  });

  test("asks from a position that was given", () => {
    assert.equal(new Scene({ position: { epoch: "e0", offset: 4 } }).query, "?epoch=e0&since=4");
  });

  test("recovered: all that was missed comes once, and nothing is told to be missing", () => {
    const scene = new Scene().join();
    scene.publish(1);
    scene.cut();
    scene.join({ offset: 1, recovered: true });
    [2, 3].forEach((offset) => scene.publish(offset));
    assert.deepEqual(scene.all("joined").map(({ outcome }) => outcome), ["first", "recovered"]);
    assert.deepEqual(scene.offsets, [1, 2, 3]);
    assert.deepEqual(scene.all("skipped"), []);
  });

  test("recovered keeps the own position, whatever offset the server tells", () => {
    const scene = new Scene().join();
    scene.publish(1);
    scene.cut();
    scene.join({ offset: 9, recovered: true });
    scene.publish(2);
    assert.deepEqual(scene.offsets, [1, 2]);
  });

  test("not recovered in the same history: which publications were missed is told", () => {
    const scene = new Scene().join();
    scene.publish(1);
    scene.cut();
    scene.join({ offset: 500 });
    scene.publish(501);
    const { outcome, missed } = scene.all("joined")[1];
    assert.deepEqual([outcome, missed], ["missed", { from: 2, to: 500 }]);
    assert.deepEqual(scene.all("skipped"), []);
    assert.deepEqual(scene.offsets, [1, 501]);
  });

  test("another epoch: a new history began, and its small offsets are heard", () => {
    const scene = new Scene().join({ offset: 100 });
    scene.publish(101);
    scene.cut();
    scene.join({ epoch: "e2", offset: 0 });
    scene.publish(1);
    const { outcome, missed } = scene.all("joined")[1];
    assert.deepEqual([outcome, missed], ["new-history", null]);
    assert.deepEqual(scene.offsets, [101, 1]);
    scene.cut();
    assert.equal(scene.query, "?epoch=e2&since=1");
  });

  test("the same epoch gone back is a new history too", () => {
    const scene = new Scene().join({ offset: 100 });
    scene.cut();
    scene.join({ offset: 40 });
    assert.equal(scene.all("joined")[1].outcome, "new-history");
  });

  test("a shutdown is announced to the connection: the return is spread", () => {
    const scene = new Scene().join();
    scene.socket.tell({ event: "shutdown", seconds: 20 });
    scene.socket.drop(4200);
    assert.equal(scene.listener.state.seconds, 10);
  });
});

describe("states", () => {
  const names = (scene) => scene.states.map(([, { name }]) => name);

  test("it is connecting until joined, then live or idle as the streamer comes and goes", () => {
    const scene = new Scene();
    assert.equal(scene.listener.state.name, "connecting");
    scene.join({ live: false });
    scene.socket.tell({ event: "live" });
    scene.socket.tell({ event: "idle" });
    assert.deepEqual(names(scene), ["idle", "live", "idle"]);
    assert.deepEqual([scene.all("live").length, scene.all("idle").length], [1, 1]);
  });

  test("it is reconnecting until joined again", () => {
    const scene = new Scene().join();
    scene.cut();
    scene.socket.accept();
    assert.equal(scene.listener.state.name, "reconnecting");
    scene.join({ recovered: true });
    assert.equal(scene.listener.state.name, "live");
  });

  test("what is told of the stream meanwhile does not make it look connected", () => {
    const scene = new Scene().join();
    scene.cut();
    scene.listener.expect({ epoch: "e1", offset: 3 });
    assert.equal(scene.listener.state.name, "reconnecting");
  });

  test("it is behind while something is known to exist that did not come", () => {
    const scene = new Scene().join();
    scene.publish(1);
    scene.listener.expect({ epoch: "e1", offset: 3 });
    assert.deepEqual(scene.listener.state, { name: "behind", missing: 2 });
    scene.publish(2);
    assert.equal(scene.listener.state.name, "behind");
    scene.publish(3);
    assert.equal(scene.listener.state.name, "live");
  });

  test("it is not behind on what it has, nor on another history", () => {
    const scene = new Scene().join({ offset: 5 });
    scene.listener.expect({ epoch: "e1", offset: 5 });
    scene.listener.expect({ epoch: "e0", offset: 900 });
    assert.equal(scene.listener.state.name, "live");
  });

  test("skipping ends being behind", () => {
    const scene = new Scene().join();
    scene.listener.expect({ epoch: "e1", offset: 3 });
    scene.socket.tell({ event: "skipped", from: 1, to: 3 });
    assert.equal(scene.listener.state.name, "live");
  });

  test("a new history ends being behind", () => {
    const scene = new Scene().join();
    scene.listener.expect({ epoch: "e1", offset: 300 });
    scene.cut();
    scene.join({ epoch: "e2" });
    assert.equal(scene.listener.state.name, "live");
  });

  test("it is gone with the reason", () => {
    const scene = new Scene().join();
    scene.socket.drop(4510, "the stream was closed");
    assert.deepEqual(scene.listener.state, { name: "gone", reason: "The stream was closed." });
  });
});

describe("a server that does not speak broadcast.v1", () => {
  test("ends a listener that never heard another one", () => {
    const scene = new Scene();
    scene.socket.accept("");
    assert.equal(scene.listener.state.name, "gone");
    assert.match(scene.listener.state.reason, /does not speak broadcast\.v1/);
  });

  test("in the place of one that did is left, and asked again later", () => {
    const scene = new Scene().join();
    scene.publish(1);
    scene.cut();
    scene.socket.accept("");
    assert.equal(scene.listener.state.name, "reconnecting");
    scene.clock.advance(scene.listener.state.seconds * 1000);
    scene.join({ offset: 1, recovered: true });
    scene.publish(2);
    assert.deepEqual(scene.offsets, [1, 2]);
    assert.equal(scene.sockets.length, 3);
  });
});
