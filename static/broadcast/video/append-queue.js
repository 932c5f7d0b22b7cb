/**
 * Operations on a SourceBuffer, one after another: it does one thing at a time, and throws at a caller that asks for
 * two.
 *
 * `onchange()` is called when something was appended or removed, `onfull()` when there is no room: what it removes is
 * removed before the append is tried again, once. `onbroken(error)` says that the buffer can no longer be used.
 */
export class AppendQueue {
  #buffer = null;
  #operations = [];
  #doing = null; // what `updateend` will be of
  #told;
  #retried = false;

  constructor(told) {
    this.#told = told;
  }

  /** The buffer is there. */
  attach(buffer) {
    this.#buffer = buffer;
    buffer.addEventListener("updateend", () => this.#ended(buffer));
    this.#go();
  }

  /** `done()` is called when they are in. */
  append(bytes, done = () => {}) {
    this.#operations.push({ act: (buffer) => buffer.appendBuffer(bytes), done });
    this.#go();
  }

  /** Forget half an element: the next append begins a new one. */
  abort() {
    this.#operations.push({ act: (buffer) => buffer.abort() });
    this.#go();
  }

  /** Before everything that waits. */
  removeFirst(from, to) {
    this.#operations.unshift({ act: (buffer) => buffer.remove(from, to) });
    this.#go();
  }

  remove(from, to) {
    this.#operations.push({ act: (buffer) => buffer.remove(from, to) });
    this.#go();
  }

  /** How much waits. */
  get length() {
    return this.#operations.length;
  }

  /** Nothing more is done. */
  close() {
    this.#buffer = null;
    this.#operations = [];
  }

  #go() {
    while (this.#buffer && !this.#buffer.updating && this.#operations.length > 0) {
      const operation = this.#operations.shift();
      try {
        this.#doing = operation;
        operation.act(this.#buffer);
      } catch (error) {
        if (!this.#makeRoom(error, operation)) return;
      }
    }
  }

  #makeRoom(error, operation) {
    if (error.name !== "QuotaExceededError" || this.#retried) {
      this.close();
      this.#told.onbroken(error);
      return false;
    }
    this.#retried = true;
    this.#operations.unshift(operation);
    this.#told.onfull();
    return true;
  }

  #ended(buffer) {
    if (buffer !== this.#buffer) return;
    if (this.#doing.done) {
      this.#retried = false;
      this.#doing.done();
    }
    this.#told.onchange();
    this.#go();
  }
}
