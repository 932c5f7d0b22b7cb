import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { AppendQueue } from "../../../static/broadcast/video/append-queue.js";

class FakeBuffer extends EventTarget {
  updating = false;
  done = [];
  refusals = [];

  appendBuffer(bytes) {
    this.#begin(bytes);
  }

  remove(from, to) {
    this.#begin(`remove ${from} ${to}`);
  }

  abort() {
    assert.equal(this.updating, false);
    this.done.push("abort");
  }

  #begin(what) {
    assert.equal(this.updating, false, "two things at once");
    const name = this.refusals.shift();
    if (name) throw Object.assign(new Error(name), { name });
    this.updating = true;
    this.done.push(what);
  }

  end() {
    this.updating = false;
    this.dispatchEvent(new Event("updateend"));
  }
}

class Scene {
  constructor() {
    this.told = [];
    this.buffer = new FakeBuffer();
    this.queue = new AppendQueue({
      onchange: () => this.told.push("change"),
      onfull: () => this.queue.removeFirst(0, 1),
      onbroken: ({ name }) => this.told.push(name),
    });
  }

  attach() {
    this.queue.attach(this.buffer);
    return this;
  }
}

describe("a queue", () => {
  test("waits for the buffer, and does one thing at a time, in order", () => {
    const { queue, buffer, told } = new Scene();
    queue.append("a", () => told.push("a is in"));
    queue.abort();
    queue.append("b");
    assert.deepEqual(buffer.done, []);
    queue.attach(buffer);
    assert.deepEqual(buffer.done, ["a"]);
    buffer.end();
    assert.deepEqual(buffer.done, ["a", "abort", "b"]);
    assert.deepEqual(told, ["a is in", "change"]);
  });

  test("makes room, and tries again", () => {
    const { queue, buffer, told } = new Scene().attach();
    buffer.refusals = ["QuotaExceededError"];
    queue.append("a", () => told.push("a is in"));
    assert.deepEqual(buffer.done, ["remove 0 1"]);
    buffer.end();
    assert.deepEqual(buffer.done, ["remove 0 1", "a"]);
    buffer.end();
    assert.deepEqual(told, ["change", "a is in", "change"]);
  });

  test("that finds no room is broken, and so is one whose buffer is", () => {
    const full = new Scene().attach();
    full.buffer.refusals = ["QuotaExceededError", null, "QuotaExceededError"];
    full.queue.append("a");
    full.buffer.end();
    assert.equal(full.told.at(-1), "QuotaExceededError");
    const broken = new Scene().attach();
    broken.buffer.refusals = ["InvalidStateError"];
    broken.queue.append("a");
    broken.queue.append("b");
    assert.deepEqual(broken.told, ["InvalidStateError"]);
    assert.deepEqual(broken.buffer.done, []);
  });

  test("that was closed does nothing more", () => {
    const { queue, buffer, told } = new Scene().attach();
    queue.append("a");
    queue.append("b");
    queue.close();
    buffer.end();
    assert.deepEqual(buffer.done, ["a"]);
    assert.deepEqual(told, []);
  });
});
