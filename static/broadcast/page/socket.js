/**
 * The socket of a page: it hears what is pushed to the page, calls views, and comes back when it was lost.
 *
 *     <script type="module" src="{% static 'broadcast/page-socket.js' %}"></script>
 *
 * On a page whose `<body>` has the attribute `data-socket-connection-id` that is all: `socket`, also the default export,
 * is open; `data-channel` elements show what comes (see `channel-elements.js`), and forms with `data-socket-call` go
 * through the socket (see `socket-forms.js`). The body's `data-socket-state` is the name of the state.
 *
 *     import socket from "broadcast/page-socket.js";
 *     socket.on("news", (payload, { offset }) => …);
 *     const { status, headers, body } = await socket.call("POST", "/vote/", { choice: "tea" });
 *
 * It promises what `connection.js`, `calls.js` and `channels.js` promise: to come back unless a close code forbids it,
 * an end for every call, and each message once or an event `missed`. After a reconnect it says what it heard last on
 * each channel, and the server goes on after that as far as it remembers.
 *
 * Events, each with a `detail`:
 * - `missed` {channel}: messages on that channel will not come, since the server remembers them no more, or not what the
 *   page was subscribed to; "": such as were for this page alone;
 * - `error` {message}: the server said something that makes no sense;
 * - `state` {name}, as the property `state`: "connecting", "open", "reconnecting" (with `reason`, `seconds`, `at`),
 *   "closed" (with `reason` when it was not this page that closed it; the socket stays closed until `open()`).
 */
import { Calls } from "./calls.js";
import { showMessage, showMissed } from "./channel-elements.js";
import { Channels } from "./channels.js";
import { CLOCK, Connection, socketURL } from "../socket/connection.js";
import { sendForms } from "./forms.js";
import { text } from "../socket/language.js";

export { CallError } from "./calls.js";

const PATH = "/ws/socket/";
const PING = '{"id":"ping","action":"ping"}'; // no call has this id
const PATIENCE = 30_000;

export class PageSocket extends EventTarget {
  #options;
  #path;
  #id;
  #connection = null;
  #state = { name: "closed" };
  #wasOpen = false;
  #clock;
  #calls;
  #channels = new Channels((channel) => this.#emit("missed", { channel }));

  /** Options: `path` and `id`, else the body's; and what `Connection` takes. */
  constructor({ path, id, ...options } = {}) {
    super();
    this.#path = path;
    this.#id = id;
    this.#options = options;
    this.#clock = options.clock ?? CLOCK;
    this.#calls = new Calls((frame) => this.#connection.send(frame), this.#clock);
  }

  get state() {
    return this.#state;
  }

  /** Connect: now instead of later, and when it is closed again. */
  open() {
    if (this.#state.name !== "closed") {
      this.#connection.retry();
      return;
    }
    const connection = new Connection(() => this.#url(), { ...this.#options, protocols: [], ping: PING });
    connection.addEventListener("state", ({ detail }) => this.#connectionBecame(detail));
    connection.addEventListener("message", ({ detail }) => this.#receive(detail));
    this.#connection = connection;
    this.#become(connection.state);
    connection.open();
  }

  close() {
    this.#connection?.close();
  }

  /**
   * Call a view: a promise of `{status, headers, body}`, whatever the status is. `uri` is a path, with its query;
   * `input` an object, the query of a GET and form data else. `CallError`: see `calls.js`; `timeout` is in milliseconds.
   */
  async call(method, uri, input = {}, options = {}) {
    const answer = await this.send("call-route", { method, uri, input }, options);
    return { status: answer.status, headers: answer.headers ?? {}, body: [answer.body ?? ""].flat().join("") };
  }

  /** Have the server's handler of that name do something: a promise of what it answers, without the id. */
  send(action, fields = {}, { timeout = PATIENCE } = {}) {
    const answer = this.#calls.make({ ...fields, action }, timeout);
    if (this.#state.name === "open") this.#calls.sendWaiting();
    else if (this.#state.name === "closed") this.#calls.close();
    return answer;
  }

  /** A promise of how many milliseconds an answer takes. */
  async ping(options = {}) {
    const begin = this.#clock.now();
    await this.send("ping", {}, options);
    return this.#clock.now() - begin;
  }

  /**
   * Have `handler(payload, {channel, offset, epoch})` called for each message on `channel`, "*": on every one. Returns
   * a function that ends it.
   */
  on(channel, handler) {
    return this.#channels.on(channel, handler);
  }

  #url() {
    const given = (this.#options.document ?? globalThis.document)?.body?.dataset ?? {};
    const parameters = { socket_connection_id: this.#id ?? given.socketConnectionId ?? "", positions: 1 };
    const since = JSON.stringify(this.#channels.positions);
    if (since !== "{}") parameters.since = since;
    return socketURL(this.#path ?? given.socketPath ?? PATH, parameters);
  }

  #connectionBecame(state) {
    if (this.#wasOpen) this.#calls.lose();
    this.#wasOpen = state.name === "open";
    if (state.name === "gone" || state.name === "closed") {
      this.#calls.close();
      this.#become({ ...state, name: "closed" });
    } else {
      if (this.#wasOpen) this.#begin();
      this.#become(state);
    }
  }

  #begin() {
    // The server answers after it has told where each channel begins.
    if (this.#channels.restart()) this.#connection.send(PING);
    this.#calls.sendWaiting();
  }

  #receive(frame) {
    let message;
    try {
      message = JSON.parse(frame);
    } catch {
      this.#emit("error", { message: text("The server sent a frame that is no JSON.") });
      return;
    }
    if (typeof message?.channel === "string") this.#channels.hear(message);
    else if (message?.event === "shutdown") this.#connection.expectShutdown(message.seconds);
    else if (message?.id === "ping") this.#channels.begun();
    else if (message?.id !== undefined) this.#calls.answer(message);
  }

  #become(state) {
    this.#state = state;
    this.#emit("state", state);
  }

  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

// Under hashed file names a page may meet this module twice, and has one socket all the same.
const ONLY = Symbol.for("broadcast.page-socket");
const isFirst = !(ONLY in globalThis);

/** The socket of this page. */
export const socket = (globalThis[ONLY] ??= new PageSocket());
export default socket;

/** Have the page show what comes, and open the socket if the page has an id. */
function begin() {
  const { body } = document;
  socket.on("*", (payload, { channel }) => showMessage(document, channel, payload));
  socket.addEventListener("missed", ({ detail }) => showMissed(document, detail.channel));
  socket.addEventListener("state", ({ detail }) => (body.dataset.socketState = detail.name));
  sendForms(document, socket);
  if (body.dataset.socketConnectionId) socket.open();
}

/** Once the page's other modules have run, which may have handlers for what comes first. */
function onceReady(callback) {
  if (document.readyState === "complete") {
    callback();
    return;
  }
  // A caller that comes after the first of these gets the second.
  const once = new AbortController();
  for (const [target, type] of [[document, "DOMContentLoaded"], [window, "load"]]) {
    target.addEventListener(type, () => (once.abort(), callback()), { signal: once.signal });
  }
}

if (globalThis.document && isFirst) onceReady(begin);
