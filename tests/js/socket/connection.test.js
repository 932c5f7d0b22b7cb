import assert from "node:assert/strict";
import { describe, test } from "node:test";

import {
  backoff,
  Connection,
  isToken,
  protocols,
  socketURL,
  unreachable,
  verdict,
} from "../../../static/broadcast/socket/connection.js";
import { record, World } from "../fakes.js";

const SECOND = 1000;

function connect(world, options = {}) {
  const connection = new Connection(() => "ws://host/", { ...world.options, ...options });
  connection.open();
  return connection;
}

function connected(world, options) {
  const connection = connect(world, options);
  world.socket.accept();
  return connection;
}

function stateAfter(code, reason) {
  const world = new World();
  const connection = connected(world);
  world.socket.drop(code, reason);
  return connection.state;
}

describe("backoff", () => {
  test("its limit doubles with every failure until 30 seconds", () => {
    const limits = [0, 1, 2, 3, 4, 5, 6, 50, 5000].map((failures) => backoff(failures, () => 1) / SECOND);
    assert.deepEqual(limits, [1, 2, 4, 8, 16, 30, 30, 30, 30]);
  });

  test("the jitter is full: from nothing to the limit", () => {
    assert.equal(backoff(4, () => 0), 0);
    assert.equal(backoff(4, () => 0.25), 4 * SECOND);
    for (let i = 0; i < 1000; i++) assert.ok(backoff(3) < 8 * SECOND);
  });
});

describe("close codes", () => {
  const ofTheProtocol = [1000, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1010, 1011, 1012, 1013, 1014, 1015];
  const comeBack = [...ofTheProtocol, 3000, 4000, 4200, 4408, 4429, 4499];
  const stayAway = [1009, 4500, 4501, 4503, 4504, 4510, 4999];

  for (const code of comeBack) {
    test(`${code}: comes back`, () => assert.equal(stateAfter(code).name, "reconnecting"));
  }

  for (const code of stayAway) {
    test(`${code}: stays away and says why in a sentence`, () => {
      const { name, reason } = stateAfter(code);
      assert.equal(name, "gone");
      assert.match(reason, /^[A-Z].* .*\.$/);
    });
  }

  test("every code of 4000–4499 comes back, none of 4500–4999 does", () => {
    for (let code = 4000; code <= 4999; code++) assert.equal(verdict(code).comesBack, code < 4500, code);
  });

  test("what the server said about the end is shown as a sentence", () => {
    assert.equal(stateAfter(4503, "the token has run out").reason, "The token has run out.");
  });

  test("what the server has too much of is shown as a sentence", () => {
    const { name, reason } = stateAfter(4429, "too many bytes: 1000 per second are the most");
    assert.deepEqual([name, reason], ["reconnecting", "Too many bytes: 1000 per second are the most."]);
    assert.equal(stateAfter(4429).reason, "The server has too many connections just now.");
  });

  test("a connection that is gone makes no further attempt", () => {
    const world = new World();
    connected(world);
    world.socket.drop(4504);
    world.clock.advance(3600 * SECOND);
    world.window.dispatchEvent(new Event("online"));
    world.document.dispatchEvent(new Event("visibilitychange"));
    assert.equal(world.sockets.length, 1);
    assert.equal(world.clock.pending, 0);
  });
});

describe("where there was never a connection", () => {
  const address = "wss://live.example:8443/ws/listener/news/?history=2";

  test("a page of the same site is told that the server does not answer", () => {
    assert.equal(unreachable(address, "https://live.example:8443"), "The server does not answer.");
    assert.equal(unreachable(address, undefined), "The server does not answer.");
  });

  test("a page of another site is told that it may not be let in", () => {
    for (const origin of ["https://live.example", "http://live.example:8443", "https://harbour.example"]) {
      const words = `live.example:8443 does not answer, or does not let in pages of ${origin}.`;
      assert.equal(unreachable(address, origin), words);
    }
  });

  test("a page in a sandbox has no site that could be named", () => {
    assert.match(unreachable(address, "null"), /does not let in a page without a site of its own\.$/);
  });

  test("only until there was one", () => {
    const world = new World();
    const connection = connect(world);
    world.socket.drop();
    assert.equal(connection.state.reason, "The server does not answer.");
    world.clock.advance(500);
    world.socket.accept();
    world.socket.drop();
    assert.equal(connection.state.reason, "The connection was lost.");
    world.clock.advance(500);
    world.socket.drop();
    assert.equal(connection.state.reason, "The connection was lost.");
  });
});

describe("handshakes that fail, of which nothing but 1006 is told,", () => {
  test("are tried again for as long as it takes, at least every 30 seconds", () => {
    const world = new World();
    world.chance = 1;
    const connection = connected(world);
    world.socket.drop();
    for (let attempt = 2; attempt < 50; attempt++) {
      assert.equal(connection.state.name, "reconnecting");
      assert.ok(connection.state.seconds <= 30);
      world.clock.advance(connection.state.seconds * SECOND);
      assert.equal(world.sockets.length, attempt);
      world.socket.drop();
    }
    world.clock.advance(30 * SECOND);
    world.socket.accept();
    assert.equal(connection.state.name, "open");
  });
});

describe("tokens", () => {
  test("are made of what a sub-protocol may have", () => {
    for (const token of ["", "abc.DEF-1_2~x", "!#$%&'*+^`|"]) assert.ok(isToken(token), token);
    for (const token of ["a b", "a:b", "a,b", "a=b", "a/b", 'a"b', "a\n", "ä", "(", "\u0000"]) assert.ok(!isToken(token), token);
  });
});

describe("reconnecting", () => {
  test("tells how long until the next attempt, and makes it then", () => {
    const world = new World();
    const connection = connected(world);
    world.socket.drop();
    assert.deepEqual(connection.state, {
      name: "reconnecting",
      reason: "The connection was lost.",
      seconds: 0.5,
      at: world.clock.now() + 500,
    });
    world.clock.advance(499);
    assert.equal(world.sockets.length, 1);
    world.clock.advance(1);
    assert.equal(world.sockets.length, 2);
    assert.equal(connection.state.at, null);
  });

  test("waits longer after each failure", () => {
    const world = new World();
    const connection = connect(world);
    const waits = [];
    for (let i = 0; i < 7; i++) {
      world.socket.drop();
      waits.push(connection.state.seconds);
      world.clock.advance(connection.state.seconds * SECOND);
    }
    assert.deepEqual(waits, [0.5, 1, 2, 4, 8, 15, 15]);
  });

  test("forgets failures after a connection that held, not after one that was turned away", () => {
    const world = new World();
    const connection = connect(world);
    for (let i = 0; i < 3; i++) {
      world.socket.drop();
      world.clock.advance(connection.state.seconds * SECOND);
    }
    world.socket.accept();
    world.clock.advance(1 * SECOND);
    world.socket.drop();
    assert.equal(connection.state.seconds, 4);
    world.clock.advance(4 * SECOND);
    world.socket.accept();
    world.clock.advance(5 * SECOND);
    world.socket.drop();
    assert.equal(connection.state.seconds, 0.5);
  });

  test("who is told that there are too many waits longer, never next to nothing, and longer each time", () => {
    for (const [chance, expected] of [[0, [4, 8, 15, 15]], [1, [8, 16, 30, 30]]]) {
      const world = new World();
      world.chance = chance;
      const connection = connect(world);
      const waits = expected.map(() => {
        world.socket.accept();
        world.socket.drop(4429);
        const { seconds } = connection.state;
        world.clock.advance(seconds * SECOND);
        return seconds;
      });
      assert.deepEqual(waits, expected);
    }
  });

  test("computes the address anew for each attempt", () => {
    const world = new World();
    let attempt = 0;
    const connection = new Connection(() => `ws://host/?n=${++attempt}`, world.options);
    connection.open();
    world.socket.drop();
    world.clock.advance(SECOND);
    assert.deepEqual(world.sockets.map(({ url }) => url), ["ws://host/?n=1", "ws://host/?n=2"]);
  });

  test("an attempt that hangs is given up after 10 seconds", () => {
    const world = new World();
    const connection = connect(world);
    world.clock.advance(10 * SECOND - 1);
    assert.equal(connection.state.name, "connecting");
    world.clock.advance(1);
    assert.equal(connection.state.name, "reconnecting");
    assert.notEqual(world.sockets[0].closedWith, null);
  });

  test("what an abandoned socket still says is not heard", () => {
    const world = new World();
    const connection = connect(world);
    const heard = record(connection, "message", "open");
    const [old] = world.sockets;
    world.clock.advance(12 * SECOND);
    old.accept();
    old.hear("late");
    old.drop(4504);
    assert.deepEqual(heard, []);
    assert.equal(connection.state.name, "reconnecting");
  });

  test("an address that is none ends it with the reason", () => {
    const world = new World();
    const connection = connect(world, {
      WebSocket: class {
        constructor() {
          throw new SyntaxError("The URL is invalid.");
        }
      },
    });
    assert.equal(connection.state.name, "gone");
    assert.match(connection.state.reason, /The URL is invalid/);
  });

  test("closing ends everything: socket, timers, ears on the page", () => {
    const world = new World();
    const connection = connected(world);
    connection.close();
    world.window.dispatchEvent(new Event("online"));
    assert.equal(world.socket.closedWith.code, 1000);
    assert.equal(connection.state.name, "closed");
    assert.equal(world.clock.pending, 0);
    assert.equal(world.sockets.length, 1);
  });
});

describe("a shutdown of the server", () => {
  function delayAfter(seconds, chance, code = 4200) {
    const world = new World();
    world.chance = chance;
    const connection = connected(world);
    if (seconds !== undefined) connection.expectShutdown(seconds);
    world.socket.drop(code);
    return connection.state.seconds;
  }

  test("spreads the return over the seconds that the server told", () => {
    assert.equal(delayAfter(20, 0), 0);
    assert.equal(delayAfter(20, 0.5), 10);
    assert.equal(delayAfter(20, 1), 20);
  });

  test("does so too when the server vanishes without the close code", () => {
    assert.equal(delayAfter(20, 0.5, 1006), 10);
  });

  test("spreads over 5 seconds when nothing sensible was told, over 30 at most", () => {
    assert.equal(delayAfter(undefined, 1), 5);
    assert.equal(delayAfter("soon", 1), 5);
    assert.equal(delayAfter(-1, 1), 5);
    assert.equal(delayAfter(86_400, 1), 30);
  });

  test("what was told is forgotten with the next connection", () => {
    const world = new World();
    world.chance = 1;
    const connection = connected(world);
    connection.expectShutdown(20);
    world.socket.drop(4200);
    world.clock.advance(20 * SECOND);
    world.socket.accept();
    world.socket.drop(1006);
    assert.equal(connection.state.seconds, 2);
  });
});

describe("silence", () => {
  test("of 15 seconds leads to one ping", () => {
    const world = new World();
    connected(world);
    world.clock.advance(15 * SECOND - 1);
    assert.deepEqual(world.socket.said, []);
    world.clock.advance(1);
    assert.deepEqual(world.socket.said, [{ event: "ping" }]);
  });

  test("after which 10 seconds without an answer are a lost connection", () => {
    const world = new World();
    const connection = connected(world);
    world.clock.advance(25 * SECOND - 1);
    assert.equal(connection.state.name, "open");
    world.clock.advance(1);
    assert.equal(connection.state.name, "reconnecting");
    assert.notEqual(world.sockets[0].closedWith, null);
    world.clock.advance(SECOND);
    assert.equal(world.sockets.length, 2);
  });

  test("is over with anything that is heard", () => {
    const world = new World();
    const connection = connected(world);
    world.clock.advance(14 * SECOND);
    world.socket.hear("something");
    world.clock.advance(14 * SECOND);
    assert.deepEqual(world.socket.said, []);
    world.clock.advance(1 * SECOND);
    assert.equal(world.socket.said.length, 1);
    world.socket.tell({ event: "pong" });
    world.clock.advance(14 * SECOND);
    assert.equal(connection.state.name, "open");
    world.clock.advance(60 * SECOND);
    assert.notEqual(connection.state.name, "open");
  });

  test("is kept for hours when every ping is answered", () => {
    const world = new World();
    const connection = connected(world);
    const [socket] = world.sockets;
    const send = socket.send.bind(socket);
    socket.send = (frame) => {
      send(frame);
      world.clock.setTimeout(() => socket.tell({ event: "pong" }), 100);
    };
    world.clock.advance(7200 * SECOND);
    assert.equal(connection.state.name, "open");
    assert.equal(world.sockets.length, 1);
  });

  test("is not broken on a socket that does not speak broadcast.v1", () => {
    const world = new World();
    const connection = connect(world);
    world.socket.accept("");
    world.clock.advance(3600 * SECOND);
    assert.deepEqual(world.socket.sent, []);
    assert.equal(connection.state.name, "open");
  });

  test("of a page whose timers slept is asked about before it is believed", () => {
    const world = new World();
    const connection = connected(world);
    world.clock.sleep(60 * SECOND);
    world.clock.advance(0);
    assert.equal(connection.state.name, "open");
    assert.deepEqual(world.socket.said, [{ event: "ping" }]);
  });
});

describe("the page", () => {
  test("coming online cuts the waiting short", () => {
    const world = new World();
    connected(world);
    world.socket.drop();
    world.window.dispatchEvent(new Event("online"));
    assert.equal(world.sockets.length, 2);
    world.clock.advance(5 * SECOND);
    assert.equal(world.sockets.length, 2, "the attempt that was waited for is not made as well");
  });

  test("coming online replaces an attempt that began without a network", () => {
    const world = new World();
    connect(world);
    world.window.dispatchEvent(new Event("online"));
    assert.equal(world.sockets.length, 2);
    assert.notEqual(world.sockets[0].closedWith, null);
  });

  test("coming online has an open connection prove itself", () => {
    const world = new World();
    const connection = connected(world);
    world.window.dispatchEvent(new Event("online"));
    assert.deepEqual(world.socket.said, [{ event: "ping" }]);
    world.clock.advance(10 * SECOND);
    assert.equal(connection.state.name, "reconnecting");
  });

  test("becoming visible cuts the waiting short", () => {
    const world = new World();
    connected(world);
    world.socket.drop();
    world.document.dispatchEvent(new Event("visibilitychange"));
    assert.equal(world.sockets.length, 2);
  });

  test("becoming hidden does not", () => {
    const world = new World();
    connected(world);
    world.socket.drop();
    world.document.visibilityState = "hidden";
    world.document.dispatchEvent(new Event("visibilitychange"));
    assert.equal(world.sockets.length, 1);
  });

  test("becoming visible leaves a healthy connection alone", () => {
    const world = new World();
    connected(world);
    world.clock.sleep(20 * SECOND);
    world.document.dispatchEvent(new Event("visibilitychange"));
    assert.equal(world.sockets.length, 1);
  });

  test("becoming visible after a long sleep reconnects at once", () => {
    const world = new World();
    const connection = connected(world);
    world.clock.sleep(25 * SECOND);
    world.document.dispatchEvent(new Event("visibilitychange"));
    assert.equal(world.sockets.length, 2);
    assert.equal(connection.state.name, "reconnecting");
    world.socket.accept();
    assert.equal(connection.state.name, "open");
  });
});

describe("addresses", () => {
  test("http becomes ws, https becomes wss, and a query is kept", () => {
    assert.equal(socketURL("http://host/ws/?a=1", { since: 3 }), "ws://host/ws/?a=1&since=3");
    assert.equal(socketURL("https://host/ws/"), "wss://host/ws/");
    assert.equal(socketURL("wss://host/ws/"), "wss://host/ws/");
  });

  test("a token travels as a sub-protocol", () => {
    assert.deepEqual(protocols(""), ["broadcast.v1"]);
    assert.deepEqual(protocols("abc"), ["broadcast.v1", "token.abc"]);
  });
});
