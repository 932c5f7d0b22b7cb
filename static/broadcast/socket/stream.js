/**
 * The base of listener and streamer: a `Connection` that speaks `broadcast.v1`, a state, and events.
 *
 * Names that begin with an underscore are for subclasses alone. Each has `_receiveEvent(event)` and `_receiveBinary(frame)`.
 */
import { Connection, isToken, PROTOCOL, protocols } from "./connection.js";
import { say, text } from "./language.js";

export class StreamSocket extends EventTarget {
  _connection;
  #state = { name: "connecting" };
  #token;
  #hasSpoken = false; // whether a server that speaks the protocol ever answered

  /** `url` is a function that returns the address for the next attempt; `options` are those of `Connection`. */
  constructor(url, token, options) {
    super();
    this.#token = token ?? "";
    this._connection = new Connection(url, { protocols: protocols(token), ...options });
    this._connection.addEventListener("state", ({ detail }) => this.#connectionBecame(detail));
    this._connection.addEventListener("message", ({ detail }) => this.#receive(detail));
  }

  /** A state of the connection, or while that is open one of the subclass' own. */
  get state() {
    return this.#state;
  }

  open() {
    if (isToken(this.#token)) this._connection.open();
    else this._connection.fail(say("The token has characters that a token cannot have."));
  }

  /** Try now instead of later. */
  retry() {
    this._connection.retry();
  }

  close() {
    this._connection.close();
  }

  /** The connection was lost, or is over. */
  _left(state) {
    this._become(state);
  }

  _become(state) {
    this.#state = state;
    this._emit("state", state);
  }

  _complain(message) {
    this._emit("error", { message });
  }

  _emit(name, detail = {}) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  #connectionBecame(state) {
    if (state.name !== "open") {
      this._left(state);
    } else if (this._connection.protocol === PROTOCOL) {
      this.#hasSpoken = true;
    } else if (this.#hasSpoken) {
      this._connection.lose(); // something else answers there for a while
    } else {
      this._connection.fail(say("The server does not speak {protocol}.", { protocol: PROTOCOL }));
    }
  }

  #receive(frame) {
    if (typeof frame !== "string") {
      this._receiveBinary(frame);
      return;
    }
    let event;
    try {
      event = JSON.parse(frame);
    } catch {
      this._complain(text("The server sent a text frame that is no JSON."));
      return;
    }
    if (event?.event === "shutdown") this._connection.expectShutdown(event.seconds);
    else if (event?.event === "error") this._complain(event.message);
    else this._receiveEvent(event);
  }
}
