import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { Signaling } from "../../../static/broadcast/room/signaling.js";
import { record, World } from "../fakes.js";

const SECOND = 1000;
const STATUS = { name: "Ada", user_agent: "chrome" };

class Scene extends World {
  signaling = new Signaling("ws://host/ws/signaling/", "standup", STATUS, this.options);
  heard = record(this.signaling, "joined", "came", "left", "status", "relay", "refused");

  constructor() {
    super();
    this.signaling.open();
    this.socket.accept("");
  }

  join(peers = []) {
    this.socket.tell({ event: "joined_room", own_id: "me", peers });
    return this;
  }
}

describe("joining", () => {
  test("the room is joined as soon as the socket is open, with no sub-protocol", () => {
    const { socket } = new Scene();
    assert.deepEqual(socket.protocols, []);
    assert.deepEqual(socket.said, [{ event: "join_room", room_id: "standup", status: STATUS }]);
  });

  test("who is there is told, a status that is none as an empty one", () => {
    const { heard, signaling } = new Scene().join([{ peer_id: "b", status: { name: "B" } }, { peer_id: "c" }]);
    const peers = [{ id: "b", status: { name: "B" } }, { id: "c", status: {} }];
    assert.deepEqual(heard, [["joined", { ownId: "me", peers }]]);
    assert.equal(signaling.state.name, "joined");
  });

  test("after a lost connection it joins again, with the newest status", () => {
    const world = new Scene().join();
    world.signaling.updateStatus({ name: "Ada Lovelace" });
    world.socket.drop();
    assert.equal(world.signaling.state.name, "reconnecting");
    world.signaling.retry();
    world.socket.accept("");
    assert.deepEqual(world.socket.said[0].status, { ...STATUS, name: "Ada Lovelace" });
  });

  test("who is refused is told why and does not come back", () => {
    const world = new Scene();
    world.socket.tell({ event: "error", message: "room is full", description: "room is full" });
    world.clock.advance(60 * SECOND);
    assert.deepEqual(world.heard, [["refused", { message: "Room is full." }]]);
    assert.equal(world.sockets.length, 1);
    assert.equal(world.clock.pending, 0);
  });

  test("who was in before asks again for a while, since its own ghost may keep it out", () => {
    const world = new Scene().join();
    world.socket.drop();
    world.signaling.retry();
    world.socket.accept("");
    world.socket.tell({ event: "error", message: "room is full" });
    world.clock.advance(5 * SECOND);
    assert.deepEqual(
      world.socket.said.map(({ event }) => event).filter((event) => event === "join_room"),
      ["join_room", "join_room"],
    );
    for (let i = 0; i < 11; i++) {
      world.socket.tell({ event: "error", message: "room is full" });
      world.clock.advance(5 * SECOND);
    }
    assert.equal(world.heard.at(-1)[0], "refused");
  });

  test("who was in before asks on for as long as the server has no engine", () => {
    const world = new Scene().join();
    world.socket.drop();
    world.signaling.retry();
    world.socket.accept("");
    for (let i = 0; i < 100; i++) {
      world.socket.tell({ event: "error", message: "not available now, try again" });
      world.clock.advance(5 * SECOND);
      world.socket.tell({ event: "pong" });
    }
    world.join();
    assert.equal(world.signaling.state.name, "joined");
  });
});

describe("signs of life", () => {
  test("a ping is sent every 5 seconds", () => {
    const world = new Scene().join();
    for (let i = 0; i < 10; i++) {
      world.clock.advance(5 * SECOND);
      world.socket.tell({ event: "pong" });
    }
    assert.equal(world.socket.said.filter(({ event }) => event === "ping").length, 10);
  });

  test("a connection on which six are not answered is given up, and comes back", () => {
    const world = new Scene().join();
    world.clock.advance(34 * SECOND);
    assert.equal(world.signaling.state.name, "joined");
    world.clock.advance(SECOND);
    assert.equal(world.socket.said.filter(({ event }) => event === "ping").length, 6);
    assert.equal(world.signaling.state.name, "reconnecting");
    world.clock.advance(SECOND);
    assert.equal(world.sockets.length, 2);
  });
});

describe("what the server says", () => {
  test("who comes, leaves and changes, and what they say", () => {
    const world = new Scene().join();
    world.socket.tell({ event: "new_peer", peer_id: "b", status: { name: "B" } });
    world.socket.tell({ event: "peer_updated_status", sender_id: "b", status: { name: "C" } });
    world.socket.tell({ event: "message", sender_id: "b", data: "hello" });
    world.socket.tell({ event: "peer_left", sender_id: "b" });
    assert.deepEqual(world.heard.slice(1), [
      ["came", { id: "b", status: { name: "B" } }],
      ["status", { id: "b", status: { name: "C" } }],
      ["relay", { id: "b", data: { event: "message", sender_id: "b", data: "hello" } }],
      ["left", { id: "b" }],
    ]);
  });

  test("what makes no sense changes nothing", () => {
    const world = new Scene().join();
    for (const frame of ["no JSON", "[]", "null", "3", '{"event":"nonsense"}', '{"event":"error","message":"x"}']) {
      world.socket.hear(frame);
    }
    assert.equal(world.heard.length, 1);
    assert.equal(world.signaling.state.name, "joined");
  });

  test("a server that goes down is come back to within the time it said", () => {
    const world = new Scene().join();
    world.socket.tell({ event: "shutdown", seconds: 8 });
    world.socket.drop(4200);
    assert.equal(world.signaling.state.seconds, 4);
  });
});

describe("what is said", () => {
  test("a relay goes to one peer, and is not sent while the room is not joined", () => {
    const world = new Scene();
    assert.equal(world.signaling.send("b", { event: "message" }), false);
    world.join();
    assert.equal(world.signaling.send("b", { event: "message" }), true);
    assert.deepEqual(world.socket.said.at(-1), { event: "send_to_peer", peer_id: "b", data: { event: "message" } });
  });

  test("leaving is said, and nothing after it", () => {
    const world = new Scene().join();
    world.signaling.close();
    assert.deepEqual(world.socket.said.at(-1), { event: "leave_room" });
    assert.deepEqual([world.socket.closedWith, world.clock.pending], [{ code: 1000 }, 0]);
  });
});
