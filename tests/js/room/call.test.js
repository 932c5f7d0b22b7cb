import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { Call } from "../../../static/broadcast/room/call.js";
import { FakeClock, record } from "../fakes.js";

const SECOND = 1000;
const CHROME = { user_agent: "chrome" };

class FakeSignaling extends EventTarget {
  isJoined = false;
  sent = [];

  send(id, data) {
    if (this.isJoined) this.sent.push([id, data]);
    return this.isJoined;
  }

  close() {
    this.isJoined = false;
  }

  tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

class FakeLink extends EventTarget {
  id = null;
  isAlive = true;
  isAnswered = true;
  isClosed = false;
  state = "connected";
  received = [];
  said = [];
  resumed = 0;

  constructor(options) {
    super();
    this.options = options;
    if (options.offers) this.id = `link ${++FakeLink.number}`;
  }

  static number = 0;

  receive(data) {
    this.received.push(data.event);
  }

  say(event) {
    this.said.push(event);
  }

  resume() {
    this.resumed += 1;
  }

  close() {
    this.isClosed = true;
    this.isAlive = false;
  }

  /** The page at the other end says who it is. */
  introduce(peerId, visit) {
    this.dispatchEvent(new CustomEvent("here", { detail: { peerId, visit } }));
  }

  hangUp() {
    this.isAlive = false;
    this.dispatchEvent(new CustomEvent("gone", { detail: {} }));
  }

  fail() {
    this.isAlive = false;
    this.state = "failed";
    this.dispatchEvent(new CustomEvent("change", { detail: {} }));
  }
}

class Scene {
  clock = new FakeClock();
  signaling = new FakeSignaling();
  links = [];

  constructor(userAgent = "chrome") {
    const makeLink = (options) => {
      this.links.push(new FakeLink(options));
      return this.links.at(-1);
    };
    this.call = new Call(this.signaling, { visit: "my visit", userAgent, makeLink, clock: this.clock });
    this.told = record(this.call, "came", "went", "message");
  }

  join(ownId = "m", ...ids) {
    this.signaling.isJoined = true;
    this.signaling.tell("joined", { ownId, peers: ids.map((id) => ({ id, status: {} })) });
    return this;
  }

  come(id, status = CHROME) {
    this.signaling.tell("came", { id, status });
  }

  leave(id) {
    this.signaling.tell("left", { id });
  }

  relay(id, data) {
    this.signaling.tell("relay", { id, data });
  }

  lose() {
    this.signaling.isJoined = false;
  }

  get ids() {
    return [...this.call.peers].map(({ id }) => id);
  }

  get offered() {
    return this.links.map(({ options }) => options.offers);
  }
}

/** A scene in which one of our pages, "b" of the visit "theirs", is connected. */
function connected() {
  const scene = new Scene().join();
  scene.come("b", { ...CHROME, visit: "theirs" });
  scene.links[0].introduce("b", "theirs");
  return scene;
}

describe("who makes the first offer", () => {
  test("who is there offers to who comes with Chrome, and to nobody else", () => {
    const scene = new Scene().join();
    for (const agent of ["chrome", "firefox", "safari", "unknown", undefined]) scene.come(agent, { user_agent: agent });
    assert.deepEqual(scene.offered, [true, false, false, false, false]);
  });

  test("who comes with Chrome waits for offers, who comes with another browser makes them", () => {
    assert.deepEqual(new Scene("chrome").join("m", "a", "b").offered, [false, false]);
    assert.deepEqual(new Scene("firefox").join("m", "a", "b").offered, [true, true]);
  });
});

describe("what is relayed", () => {
  test("it reaches the link of its sender, and of who is not there nothing", () => {
    const scene = new Scene().join("m", "a", "b");
    scene.relay("a", { event: "offer" });
    scene.relay("a", { event: "ice_candidate" });
    scene.relay("stranger", { event: "offer" });
    assert.deepEqual(scene.links.map(({ received }) => received), [["offer", "ice_candidate"], []]);
  });

  test("what belongs to a connection that is over is left out", () => {
    const scene = new Scene().join();
    scene.come("b");
    scene.relay("b", { event: "answer", link: "another" });
    scene.relay("b", { event: "ice_candidate", link: scene.links[0].id });
    assert.deepEqual(scene.links[0].received, ["ice_candidate"]);
  });

  test("an offer of another connection ends the one there is", () => {
    const scene = connected();
    scene.relay("b", { event: "offer", link: "new" });
    assert.deepEqual(scene.links.map(({ isClosed }) => isClosed), [true, false]);
    assert.deepEqual([scene.links[1].id, scene.links[1].received], ["new", ["offer"]]);
    assert.deepEqual(scene.ids, ["b"]);
  });

  test("of two that were offered at once, the one of the lesser id stays", () => {
    for (const [ownId, links] of [["a", 1], ["z", 2]]) {
      const scene = new Scene().join(ownId);
      scene.come("m");
      scene.links[0].isAnswered = false;
      scene.relay("m", { event: "offer", link: "theirs" });
      assert.equal(scene.links.length, links);
    }
  });

  test("text is told with its sender, and anything else is not", () => {
    const scene = connected();
    for (const data of ["hello", { text: "no" }, 3, null]) scene.relay("b", { event: "message", data });
    const messages = scene.told.filter(([name]) => name === "message");
    assert.deepEqual(messages.map(([, { peer, text }]) => [peer.id, text]), [["b", "hello"]]);
  });
});

describe("who leaves", () => {
  test("a client of palava's is gone at once", () => {
    const scene = new Scene().join("m", "a");
    scene.leave("a");
    assert.deepEqual([scene.ids, scene.links[0].isClosed], [[], true]);
  });

  test("one of our pages that hung up is gone at once, in either order", () => {
    for (const deeds of [["hangUp", "leave"], ["leave", "hangUp"]]) {
      const scene = connected();
      for (const deed of deeds) (deed === "leave" ? scene.leave("b") : scene.links[0].hangUp());
      assert.deepEqual(scene.ids, []);
    }
  });

  test("one whose media go on is kept for a minute", () => {
    const scene = connected();
    scene.leave("b");
    scene.clock.advance(59 * SECOND);
    assert.deepEqual(scene.ids, ["b"]);
    scene.clock.advance(SECOND);
    assert.deepEqual([scene.ids, scene.links[0].isClosed], [[], true]);
  });

  test("one that is kept and whose media fail is gone", () => {
    const scene = connected();
    scene.leave("b");
    scene.links[0].fail();
    assert.deepEqual(scene.ids, []);
  });

  test("one that hangs up while we are not at the server is gone", () => {
    const scene = connected();
    scene.lose();
    scene.links[0].hangUp();
    assert.deepEqual(scene.ids, []);
  });
});

describe("a peer that comes back with another id", () => {
  const back = { ...CHROME, visit: "theirs" };

  function assertGoesOn(scene) {
    assert.deepEqual([scene.ids, scene.links.length, scene.links[0].isClosed], [["c"], 1, false]);
    scene.clock.advance(600 * SECOND);
    assert.deepEqual([scene.ids, scene.links.length], [["c"], 1]);
    assert.equal(scene.links[0].resumed, 1);
    scene.links[0].options.send({ event: "offer" });
    assert.equal(scene.signaling.sent.at(-1)[0], "c");
  }

  test("keeps its link, when it left before", () => {
    const scene = connected();
    scene.leave("b");
    scene.come("c", back);
    scene.links[0].introduce("c", "theirs");
    assertGoesOn(scene);
  });

  test("keeps its link, when the server notices only later that it left", () => {
    const scene = connected();
    scene.come("c", back);
    scene.links[0].introduce("c", "theirs");
    scene.leave("b");
    assertGoesOn(scene);
  });

  test("keeps its link, when it says so before the server does", () => {
    const scene = connected();
    scene.links[0].introduce("c", "theirs");
    scene.come("c", back);
    assertGoesOn(scene);
  });

  test("is connected to anew when nothing comes over its link in time", () => {
    const scene = connected();
    scene.leave("b");
    scene.come("c", back);
    scene.clock.advance(3 * SECOND);
    assert.deepEqual(scene.offered, [true, true]);
    scene.links[1].introduce("c", "theirs");
    assert.deepEqual([scene.ids, scene.links[0].isClosed], [["c"], true]);
  });

  test("is connected to anew at once when it offers", () => {
    const scene = connected();
    scene.come("c", back);
    scene.relay("c", { event: "offer", link: "new" });
    assert.deepEqual(scene.offered, [true, false]);
    assert.deepEqual(scene.links[1].received, ["offer"]);
  });

  test("is not waited for when its link is lost", () => {
    const scene = connected();
    scene.links[0].isAlive = false;
    scene.come("c", back);
    assert.equal(scene.links.length, 2);
  });

  test("who only says that it is of this visit gets no link of another's", () => {
    const scene = connected();
    scene.come("thief", back);
    scene.clock.advance(3 * SECOND);
    scene.links[1].introduce("thief", "theirs");
    assert.deepEqual(scene.ids, ["b", "thief"]);
    assert.equal(scene.links[0].isClosed, false);
  });

  test("somebody else does not wait", () => {
    const scene = connected();
    scene.leave("b");
    scene.come("d", { ...CHROME, visit: "of somebody else" });
    assert.equal(scene.links.length, 2);
  });
});

describe("our own coming back", () => {
  test("links to our pages go on, and say who we are now", () => {
    const scene = connected();
    scene.lose();
    scene.join("m2", "b");
    assert.deepEqual([scene.links.length, scene.links[0].resumed], [1, 1]);
    assert.deepEqual(scene.links[0].said.at(-1), { event: "here", peer_id: "m2", visit: "my visit" });
  });

  test("who came back before us with another id is found by its link", () => {
    const scene = connected();
    scene.lose();
    scene.join("m2", "c");
    assert.deepEqual(scene.ids, ["b"]);
    scene.links[0].introduce("c", "theirs");
    assert.deepEqual([scene.ids, scene.links.length], [["c"], 1]);
  });

  test("clients of palava hung up, and are connected to anew", () => {
    const scene = new Scene().join("m", "palava");
    scene.lose();
    scene.join("m2", "palava");
    assert.deepEqual(scene.links.map(({ isClosed }) => isClosed), [true, false]);
    assert.deepEqual(scene.ids, ["palava"]);
  });

  test("who left meanwhile is gone", () => {
    const scene = connected();
    scene.links[0].isAlive = false;
    scene.lose();
    scene.join("m2");
    assert.deepEqual(scene.ids, []);
  });
});

describe("the chat", () => {
  test("a message goes to everybody who is at the server", () => {
    const scene = new Scene().join("m", "a");
    scene.come("b", { ...CHROME, visit: "theirs" });
    scene.links[1].introduce("b", "theirs");
    scene.leave("b");
    assert.equal(scene.call.sendMessage("hello"), true);
    assert.deepEqual(scene.signaling.sent, [["a", { event: "message", data: "hello" }]]);
  });

  test("nothing is sent while we are not", () => {
    assert.equal(new Scene().call.sendMessage("hello"), false);
  });
});

test("at the end all links and timers are", () => {
  const scene = connected();
  scene.leave("b");
  scene.come("c", { ...CHROME, visit: "theirs" });
  scene.call.close();
  assert.deepEqual([scene.ids, scene.links[0].isClosed, scene.clock.pending], [[], true, 0]);
});
