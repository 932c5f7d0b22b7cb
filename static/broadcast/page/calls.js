/**
 * Calls over a connection that may be lost: each is a promise of its answer.
 *
 * It promises:
 * - a call ends: with its answer, or with a `CallError` when its time is over, when the connection was lost before the
 *   answer came, or when there will be no connection any more;
 * - a call that is made while there is no connection waits for one, within its time;
 * - a call is sent once. Where the connection is lost nobody here knows whether it was carried out, and so it is never
 *   repeated: `CallError.sent` says whether it may have been.
 *
 * It knows nothing of sockets: `send` is given, and it is told when there is a connection and when there is none.
 */
import { say } from "../socket/language.js";

export class CallError extends Error {
  name = "CallError";

  /** `reason`: "time", "lost" or "closed". `sent`: whether the server may have carried the call out. */
  constructor(message, reason, sent) {
    super(message);
    this.reason = reason;
    this.sent = sent;
  }
}

export class Calls {
  #send;
  #clock;
  #waiting = new Map(); // id → the call that has no answer yet
  #last = 0;

  constructor(send, clock) {
    this.#send = send;
    this.#clock = clock;
  }

  /** The answer to `message`, which gets an id of its own, within so many milliseconds. */
  make(message, timeout) {
    const id = (this.#last += 1);
    return new Promise((resolve, reject) => {
      const frame = JSON.stringify({ ...message, id });
      const timer = this.#clock.setTimeout(() => this.#isTooLate(id), timeout);
      this.#waiting.set(id, { frame, sent: false, timer, resolve, reject });
    });
  }

  /** There is a connection: send what waits for one. */
  sendWaiting() {
    for (const call of this.#waiting.values()) {
      if (call.sent) continue;
      call.sent = true;
      this.#send(call.frame);
    }
  }

  /** An answer came. It may be one that is waited for no more. */
  answer({ id, ...answer }) {
    this.#take(id)?.resolve(answer);
  }

  /** The connection was lost, over which everything was sent: nothing of it is answered any more. */
  lose() {
    for (const id of this.#waiting.keys()) this.#fail(id, say("The connection was lost before the answer came."), "lost");
  }

  /** There will be no connection any more. */
  close() {
    for (const id of this.#waiting.keys()) this.#fail(id, say("The connection is closed."), "closed");
  }

  #isTooLate(id) {
    const { sent } = this.#waiting.get(id);
    this.#fail(id, sent ? say("No answer came in time.") : say("There was no connection in time."), "time");
  }

  #fail(id, words, reason) {
    const call = this.#take(id);
    call.reject(new CallError(words, reason, call.sent));
  }

  #take(id) {
    const call = this.#waiting.get(id);
    this.#waiting.delete(id);
    this.#clock.clearTimeout(call?.timer);
    return call;
  }
}
