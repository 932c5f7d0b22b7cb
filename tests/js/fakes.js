/** What a browser gives, under the test's own hand: time, chance, sockets, the page. */

import { webcrypto } from "node:crypto";

// What every browser has as a global and Node 18 has not.
globalThis.crypto ??= webcrypto;
globalThis.CustomEvent ??= class CustomEvent extends Event {
  constructor(type, { detail = null } = {}) {
    super(type);
    this.detail = detail;
  }
};

/** Time that stands still until `advance`. */
export class FakeClock {
  #now = 1_000_000;
  #timers = new Map();
  #next = 1;

  now() {
    return this.#now;
  }

  setTimeout(callback, delay) {
    this.#timers.set(this.#next, { at: this.#now + delay, callback });
    return this.#next++;
  }

  clearTimeout(timer) {
    this.#timers.delete(timer);
  }

  /** Let so many milliseconds pass, calling what falls due in its order. */
  advance(milliseconds) {
    const end = this.#now + milliseconds;
    for (;;) {
      const due = [...this.#timers].filter(([, { at }]) => at <= end).sort((a, b) => a[1].at - b[1].at)[0];
      if (!due) break;
      this.#timers.delete(due[0]);
      this.#now = Math.max(this.#now, due[1].at);
      due[1].callback();
    }
    this.#now = end;
  }

  /** Let time pass without any timer being called, as for a page that is frozen. */
  sleep(milliseconds) {
    this.#now += milliseconds;
  }

  get pending() {
    return this.#timers.size;
  }
}

/** The page around a connection, and every socket it opened. */
export class World {
  constructor() {
    const world = this;
    this.sockets = [];
    this.clock = new FakeClock();
    this.chance = 0.5;
    this.window = new EventTarget();
    this.document = Object.assign(new EventTarget(), { visibilityState: "visible" });
    this.options = {
      clock: this.clock,
      random: () => this.chance,
      window: this.window,
      document: this.document,
      WebSocket: class extends FakeWebSocket {
        constructor(url, protocols) {
          super(url, protocols);
          world.sockets.push(this);
        }
      },
    };
  }

  get socket() {
    return this.sockets.at(-1);
  }
}

export class FakeWebSocket {
  protocol = "";
  bufferedAmount = 0;
  sent = [];
  closedWith = null;

  constructor(url, protocols) {
    this.url = url;
    this.protocols = protocols;
  }

  send(frame) {
    this.sent.push(frame);
  }

  close(code) {
    this.closedWith = { code };
  }

  /** The events that were sent, parsed. */
  get said() {
    return this.sent.filter((frame) => typeof frame === "string").map((frame) => JSON.parse(frame));
  }

  accept(protocol = "broadcast.v1") {
    this.protocol = protocol;
    this.onopen?.({});
  }

  hear(data) {
    this.onmessage?.({ data });
  }

  tell(event) {
    this.hear(JSON.stringify(event));
  }

  drop(code = 1006, reason = "") {
    this.onclose?.({ code, reason });
  }
}

/** Everything of these types that `target` dispatches, as `[type, detail]`. */
export function record(target, ...types) {
  const heard = [];
  for (const type of types) target.addEventListener(type, ({ detail }) => heard.push([type, detail]));
  return heard;
}

/** Let promises that are ready go on. */
export function settle() {
  return new Promise((resolve) => setImmediate(resolve));
}
