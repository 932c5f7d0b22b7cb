import assert from "node:assert/strict";
import { describe, test } from "node:test";

import standard, { CallError, PageSocket, socket as named } from "../../../static/broadcast/page/socket.js";
import { record, settle, World } from "../fakes.js";

const SECOND = 1000;

class Scene extends World {
  constructor(options = {}) {
    super();
    this.page = new PageSocket({ path: "ws://host/ws/socket/", id: "abc", ...this.options, ...options });
    this.told = record(this.page, "missed", "error");
    this.states = record(this.page, "state");
    this.heard = [];
    this.page.on("*", (payload, { channel, epoch, offset }) => this.heard.push([channel, payload, epoch, offset]));
    this.page.open();
  }

  accept() {
    this.socket.accept("");
    return this;
  }

  /** A message on a channel; without a payload it says where the channel begins. */
  push(channel, epoch, offset, payload) {
    this.socket.tell({ channel, epoch, offset, payload });
  }

  /** Cut, and come back. */
  return() {
    this.socket.drop();
    this.clock.advance(this.page.state.seconds * SECOND);
    return this.accept();
  }

  get query() {
    return Object.fromEntries(new URL(this.socket.url).searchParams);
  }

  get payloads() {
    return this.heard.map(([, payload]) => payload);
  }

  /** The ids of the frames that were sent on the socket there is now. */
  get ids() {
    return this.socket.said.map(({ id }) => id);
  }
}

/** What becomes of a promise: "pending", or what it was settled with. */
async function fate(promise) {
  const settled = promise.then((value) => ({ value }), (error) => ({ error }));
  await settle();
  return Promise.race([settled, Promise.resolve("pending")]);
}

async function failure(promise) {
  const { error } = await fate(promise);
  assert.ok(error instanceof CallError);
  assert.match(error.message, /^[A-Z].*\.$/);
  return [error.reason, error.sent];
}

describe("connecting", () => {
  test("shows the id of the page and asks for positions, without a sub-protocol", () => {
    const scene = new Scene();
    assert.equal(scene.socket.url, "ws://host/ws/socket/?socket_connection_id=abc&positions=1");
    assert.deepEqual(scene.socket.protocols, []);
  });

  test("takes id and path from the body where it was not told", () => {
    const body = { dataset: { socketConnectionId: "def", socketPath: "ws://host/below/ws/socket/" } };
    const document = Object.assign(new EventTarget(), { body });
    const scene = new Scene({ document, path: undefined, id: undefined });
    assert.equal(scene.socket.url, "ws://host/below/ws/socket/?socket_connection_id=def&positions=1");
  });

  test("tells each state by its name", () => {
    const scene = new Scene().accept();
    scene.return();
    scene.page.close();
    const names = scene.states.map(([, { name }]) => name);
    assert.deepEqual(names, ["connecting", "open", "reconnecting", "reconnecting", "open", "closed"]);
    assert.deepEqual(scene.page.state, { name: "closed" });
  });

  test("the socket of a page is not open before the page opens it", () => {
    assert.equal(standard, named);
    assert.deepEqual(standard.state, { name: "closed" });
  });

  for (const code of [4000, 4200, 4408, 4429, 4499, 1001, 1006]) {
    test(`after ${code} it comes back`, () => {
      const scene = new Scene().accept();
      scene.socket.drop(code);
      assert.equal(scene.page.state.name, "reconnecting");
      scene.clock.advance(scene.page.state.seconds * SECOND);
      assert.equal(scene.sockets.length, 2);
    });
  }

  for (const code of [4500, 4503, 4999]) {
    test(`after ${code} it is closed, with the reason`, () => {
      const scene = new Scene().accept();
      scene.socket.drop(code, "you have logged out");
      assert.deepEqual(scene.page.state, { name: "closed", reason: "You have logged out." });
      scene.clock.advance(3600 * SECOND);
      assert.equal(scene.sockets.length, 1);
    });
  }

  test("what is closed can be opened again, also by who hears that it is", () => {
    const scene = new Scene().accept();
    scene.page.addEventListener("state", ({ detail }) => detail.name === "closed" && scene.page.open(), { once: true });
    scene.socket.drop(4503);
    scene.page.close();
    scene.page.open();
    scene.accept();
    assert.equal(scene.page.state.name, "open");
  });

  test("opening what waits for its next attempt makes it now", () => {
    const scene = new Scene().accept();
    scene.socket.drop();
    scene.page.open();
    assert.equal(scene.sockets.length, 2);
  });

  test("a server that goes down is come back to over the time that it told", () => {
    const scene = new Scene().accept();
    scene.socket.tell({ event: "shutdown", seconds: 20 });
    scene.socket.drop(4200);
    assert.equal(scene.page.state.seconds, 10);
  });

  test("silence is broken by a ping that is no call, and a socket that does not answer it is given up", async () => {
    const scene = new Scene().accept();
    scene.clock.advance(15 * SECOND);
    assert.deepEqual(scene.socket.said, [{ id: "ping", action: "ping" }]);
    scene.socket.tell({ id: "ping", status: 200, headers: {}, body: "pong" });
    scene.clock.advance(15 * SECOND);
    assert.equal(scene.socket.said.length, 2);
    scene.clock.advance(10 * SECOND);
    assert.equal(scene.page.state.name, "reconnecting");
  });

  test("what is no JSON is told of, what means nothing is not heard", () => {
    const scene = new Scene().accept();
    for (const frame of ["{", "null", "5", '"text"', "[]", '{"event":"surprise"}', '{"channel":5}']) scene.socket.hear(frame);
    scene.socket.hear(new ArrayBuffer(3));
    assert.deepEqual(scene.told.map(([type]) => type), ["error", "error"]);
    assert.deepEqual(scene.heard, []);
  });
});

describe("calling a view", () => {
  test("is answered with status, headers and the whole body", async () => {
    const scene = new Scene().accept();
    const answer = scene.page.call("POST", "/vote/?a=1", { choice: "tea" });
    assert.deepEqual(scene.socket.said, [
      { id: 1, action: "call-route", method: "POST", uri: "/vote/?a=1", input: { choice: "tea" } },
    ]);
    scene.socket.tell({ id: 1, status: 404, headers: { "Content-Type": "text/plain" }, body: ["No ", "such choice"] });
    assert.deepEqual(await answer, { status: 404, headers: { "Content-Type": "text/plain" }, body: "No such choice" });
  });

  test("is answered too where the server could make no sense of it", async () => {
    const scene = new Scene().accept();
    const answer = scene.page.call("POST", "/");
    scene.socket.tell({ id: 1, status: 400, body: "uri is missing" });
    assert.deepEqual(await answer, { status: 400, headers: {}, body: "uri is missing" });
  });

  test("answers find their calls in any order", async () => {
    const scene = new Scene().accept();
    const answers = ["/a/", "/b/", "/c/"].map((uri) => scene.page.call("GET", uri));
    assert.deepEqual(scene.ids, [1, 2, 3]);
    for (const id of [2, 3, 1]) scene.socket.tell({ id, status: 200 + id, headers: {}, body: [] });
    assert.deepEqual((await Promise.all(answers)).map(({ status }) => status), [201, 202, 203]);
  });

  test("has a time limit of 30 seconds, or another, after which an answer is not heard", async () => {
    const scene = new Scene().accept();
    const [long, short] = [scene.page.call("GET", "/"), scene.page.call("GET", "/", {}, { timeout: 50 })];
    scene.clock.advance(50);
    assert.deepEqual(await failure(short), ["time", true]);
    scene.socket.tell({ id: 2, status: 200, headers: {}, body: [] });
    scene.clock.advance(20 * SECOND);
    scene.socket.tell({ id: "ping", status: 200, headers: {}, body: "pong" });
    scene.clock.advance(10 * SECOND - 51);
    assert.equal(await fate(long), "pending");
    scene.clock.advance(1);
    assert.deepEqual(await failure(long), ["time", true]);
  });

  test("an answer that came leaves no timer behind", async () => {
    const scene = new Scene().accept();
    const before = scene.clock.pending;
    const answer = scene.page.call("GET", "/");
    assert.equal(scene.clock.pending, before + 1);
    scene.socket.tell({ id: 1, status: 200, headers: {}, body: [] });
    await answer;
    assert.equal(scene.clock.pending, before);
  });

  test("that was under way when the connection was lost fails, and is not repeated", async () => {
    const scene = new Scene().accept();
    const answer = scene.page.call("POST", "/vote/");
    scene.return();
    assert.deepEqual(await failure(answer), ["lost", true]);
    assert.deepEqual(scene.socket.said, []);
    scene.socket.tell({ id: 1, status: 200, headers: {}, body: [] });
  });

  test("while there is no connection waits for it", async () => {
    const scene = new Scene();
    const first = scene.page.call("GET", "/first/");
    assert.deepEqual(scene.socket.sent, []);
    scene.accept();
    scene.socket.tell({ id: 1, status: 200, headers: {}, body: ["first"] });
    assert.equal((await first).body, "first");
    scene.socket.drop();
    const second = scene.page.call("GET", "/second/");
    scene.clock.advance(scene.page.state.seconds * SECOND);
    scene.accept();
    assert.deepEqual(scene.ids, [2]);
    scene.socket.tell({ id: 2, status: 200, headers: {}, body: ["second"] });
    assert.equal((await second).body, "second");
  });

  test("waits through several attempts, is sent once, and fails within its time where none succeeds", async () => {
    const scene = new Scene();
    const patient = scene.page.call("GET", "/");
    const hurried = scene.page.call("GET", "/", {}, { timeout: 400 });
    for (let attempt = 0; attempt < 3; attempt++) {
      scene.socket.drop();
      scene.clock.advance(scene.page.state.seconds * SECOND);
    }
    assert.deepEqual(await failure(hurried), ["time", false]);
    scene.accept();
    assert.deepEqual(scene.ids, [1]);
    scene.return();
    assert.deepEqual(await failure(patient), ["lost", true]);
    assert.deepEqual(scene.ids, []);
  });

  test("fails at once where the socket is closed, or when it closes", async () => {
    const scene = new Scene();
    const waiting = scene.page.call("GET", "/");
    scene.page.close();
    assert.deepEqual(await failure(waiting), ["closed", false]);
    assert.deepEqual(await failure(scene.page.call("GET", "/")), ["closed", false]);
    assert.equal(scene.clock.pending, 0);
  });

  test("that was under way when the server closed for good may have been carried out", async () => {
    const scene = new Scene().accept();
    const answer = scene.page.call("POST", "/");
    scene.socket.drop(4503);
    assert.deepEqual(await failure(answer), ["lost", true]);
  });

  test("with what is no JSON fails, and leaves nothing behind", async () => {
    const scene = new Scene().accept();
    const before = scene.clock.pending;
    const { error } = await fate(scene.page.call("POST", "/", { number: 1n }));
    assert.ok(error instanceof TypeError);
    assert.equal(scene.clock.pending, before);
  });
});

describe("other actions", () => {
  test("send their fields, and are answered with what the handler said", async () => {
    const scene = new Scene().accept();
    const answer = scene.page.send("greet", { name: "Ada", id: 77, action: "other" });
    assert.deepEqual(scene.socket.said, [{ name: "Ada", action: "greet", id: 1 }]);
    scene.socket.tell({ id: 1, status: 200, headers: {}, body: { hello: "Ada" } });
    assert.deepEqual(await answer, { status: 200, headers: {}, body: { hello: "Ada" } });
  });

  test("a ping tells how long its answer took", async () => {
    const scene = new Scene().accept();
    const milliseconds = scene.page.ping();
    scene.clock.advance(40);
    scene.socket.tell({ id: 1, status: 200, headers: {}, body: "pong" });
    assert.equal(await milliseconds, 40);
  });
});

describe("channels", () => {
  test("a handler hears its channel alone, with the position", () => {
    const scene = new Scene().accept();
    const heard = [];
    scene.page.on("news", (...what) => heard.push(what));
    scene.push("news", "e", 1, { a: 1 });
    scene.push("sport", "e", 1, "goal");
    assert.deepEqual(heard, [[{ a: 1 }, { channel: "news", offset: 1, epoch: "e" }]]);
    assert.deepEqual(scene.payloads, [{ a: 1 }, "goal"]);
  });

  test("any JSON value is a payload, nothing too", () => {
    const scene = new Scene().accept();
    const values = [null, false, 0, "", [], {}];
    values.forEach((value, index) => scene.push("news", "e", index + 1, value));
    assert.deepEqual(scene.payloads, values);
  });

  test("a handler is removed by what `on` returned, and each time it was given counts", () => {
    const scene = new Scene().accept();
    const heard = [];
    const handler = (payload) => heard.push(payload);
    const removers = [scene.page.on("news", handler), scene.page.on("news", handler)];
    scene.push("news", "e", 1, "twice");
    removers[0]();
    removers[0]();
    scene.push("news", "e", 2, "once");
    removers[1]();
    scene.push("news", "e", 3, "never");
    assert.deepEqual(heard, ["twice", "twice", "once"]);
  });

  test("a handler that throws is reported and disturbs no other one", () => {
    const reported = [];
    globalThis.reportError = (error) => reported.push(error.message);
    const scene = new Scene().accept();
    const heard = [];
    scene.page.on("news", () => {
      throw new Error("mine");
    });
    scene.page.on("news", (payload) => heard.push(payload));
    scene.push("news", "e", 1, "a");
    scene.push("news", "e", 2, "b");
    assert.deepEqual(heard, ["a", "b"]);
    assert.deepEqual(scene.payloads, ["a", "b"]);
    assert.deepEqual(reported, ["mine", "mine"]);
    delete globalThis.reportError;
  });

  test("where a channel begins is no message", () => {
    const scene = new Scene().accept();
    scene.push("news", "e", 7);
    scene.push("news", "e", 8, "first");
    assert.deepEqual(scene.payloads, ["first"]);
    assert.deepEqual(scene.told, []);
  });
});

describe("after a reconnect", () => {
  function scene(...pushes) {
    const made = new Scene().accept();
    for (const push of pushes) made.push(...push);
    return made;
  }

  test("what was heard last on each channel is told", () => {
    const made = scene(["news", "e", 7], ["news", "e", 8, "a"], ["sport", "f", 3], ["a&b=c", "g", 0]);
    assert.equal(made.query.since, undefined);
    made.return();
    assert.deepEqual(JSON.parse(made.query.since), { news: ["e", 8], sport: ["f", 3], "a&b=c": ["g", 0] });
    made.push("sport", "f", 4, "goal");
    made.return();
    assert.deepEqual(JSON.parse(made.query.since).sport, ["f", 4]);
    assert.equal(made.query.socket_connection_id, "abc");
  });

  test("what is replayed is heard once, and nothing is missed", () => {
    const made = scene(["news", "e", 0], ["news", "e", 1, "a"], ["news", "e", 2, "b"]);
    made.return();
    made.push("news", "e", 2);
    for (const [offset, payload] of [[1, "a"], [2, "b"], [3, "c"], [3, "c"], [4, "d"]]) made.push("news", "e", offset, payload);
    assert.deepEqual(made.payloads, ["a", "b", "c", "d"]);
    assert.deepEqual(made.told, []);
  });

  test("a beginning before what was heard last takes nothing back", () => {
    const made = scene(["news", "e", 0], ["news", "e", 1, "a"], ["news", "e", 2, "b"]);
    made.return();
    made.push("news", "e", 0);
    for (const [offset, payload] of [[1, "a"], [2, "b"], [3, "c"]]) made.push("news", "e", offset, payload);
    assert.deepEqual(made.payloads, ["a", "b", "c"]);
    assert.deepEqual(made.told, []);
  });

  for (const [what, first] of [
    ["a beginning beyond what was heard last", ["news", "e", 6]],
    ["an offset that is left out", ["news", "e", 10, "late"]],
    ["the beginning of a new history", ["news", "new", 0]],
    ["a message of a new history", ["news", "new", 6, "late"]],
  ]) {
    test(`${what} is told as missed, once, on that channel alone`, () => {
      const made = scene(["news", "e", 4], ["news", "e", 5, "a"], ["sport", "f", 3]);
      made.return();
      made.push("sport", "f", 3);
      made.push(...first);
      assert.deepEqual(made.told, [["missed", { channel: "news" }]]);
      made.push("news", first[1], first[2] + 1, "next");
      made.push("sport", "f", 4, "goal");
      assert.equal(made.told.length, 1);
      assert.deepEqual(made.payloads.at(-2), "next");
    });
  }

  test("what was for this page alone has positions of its own", () => {
    const made = scene(["", "p", 0], ["news", "e", 5], ["news", "e", 6, "a"]);
    made.socket.tell({ payload: "mine", channel: "news", offset: 1, epoch: "p", page: true });
    made.push("news", "e", 7, "b");
    assert.deepEqual(made.payloads, ["a", "mine", "b"]);
    assert.deepEqual(made.told, []);
    made.return();
    assert.deepEqual(JSON.parse(made.query.since), { "": ["p", 1], news: ["e", 7] });
    made.push("", "p", 3);
    assert.deepEqual(made.told, [["missed", { channel: "" }]]);
    assert.deepEqual(made.payloads, ["a", "mine", "b"]);
  });

  describe("a channel that begins no more", () => {
    const PING = { id: "ping", action: "ping" };
    const PONG = { id: "ping", status: 200, headers: {}, body: "pong" };

    test("is missed once the server has told of all others, and asked for no more", () => {
      const made = scene(["news", "e", 4], ["sport", "f", 3]);
      made.return();
      assert.deepEqual(made.socket.said, [PING]);
      made.push("sport", "f", 3);
      assert.deepEqual(made.told, []);
      made.socket.tell(PONG);
      made.socket.tell(PONG);
      assert.deepEqual(made.told, [["missed", { channel: "news" }]]);
      made.return();
      assert.deepEqual(JSON.parse(made.query.since), { sport: ["f", 3] });
      made.push("sport", "f", 3);
      made.socket.tell(PONG);
      assert.equal(made.told.length, 1);
    });

    test("is not missed where the connection is lost before that is known", () => {
      const made = scene(["news", "e", 4]);
      made.return();
      made.return();
      made.push("news", "e", 4);
      made.socket.tell(PONG);
      assert.deepEqual(made.told, []);
    });

    test("is not asked about where nothing was heard before", () => {
      const made = scene();
      assert.deepEqual(made.socket.sent, []);
      made.return();
      assert.deepEqual(made.socket.sent, []);
    });
  });

  test("who hears that something was missed is told before what comes after it", () => {
    const made = scene(["news", "e", 0], ["news", "e", 1, "a"]);
    const order = [];
    made.page.addEventListener("missed", () => order.push("missed"));
    made.page.on("news", (payload) => order.push(payload));
    made.push("news", "e", 5, "b");
    assert.deepEqual(order, ["missed", "b"]);
  });
});
