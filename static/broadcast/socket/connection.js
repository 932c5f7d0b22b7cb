/**
 * A WebSocket that comes back.
 *
 * It promises:
 * - after a lost connection it tries again, with exponential backoff and full jitter, whatever it meets: a proxy without
 *   a server, a connection cut in the handshake. Only a verdict ends it, with a reason in a person's words: a close code
 *   of 4500 and above, or 1009, since what is too large would only be sent again;
 * - a connection over which nothing is heard is noticed: browsers do not show WebSocket pings to a page, so it asks
 *   with a frame of its own and gives the connection up when no answer comes;
 * - the address is computed again for every attempt, so that a resume position in it is the newest;
 * - `online`, and a page that becomes visible again, cut the waiting short.
 *
 * It knows nothing of streams: `listener.js`, `streamer.js` and `page-socket.js` speak through it.
 *
 * Events: `open`; `message` (detail: a string or an ArrayBuffer); `state` (detail: see `Connection.state`).
 */

import { say, sayServer, sentence, text } from "./language.js";

export { sentence };

export const PROTOCOL = "broadcast.v1";

const SECOND = 1000;
const BACKOFF_BASE = 1 * SECOND;
const BACKOFF_CAP = 30 * SECOND;
const HANDSHAKE_LIMIT = 10 * SECOND; // a browser's own limit is minutes when packets vanish
const SILENCE = 15 * SECOND; // then ask
const PATIENCE = 10 * SECOND; // then give up
const HELD = 5 * SECOND; // a connection that lasted this long was a success: failures before it are forgotten
const TOO_MANY = 4429;
const TOO_MANY_FAILURES = 3; // who is told "too many" begins further out
const SHUTDOWN_SPREAD = 5; // seconds, when the server did not say

const COME_BACK = new Map([
  [1002, text("The server did not understand this page.")],
  [1003, text("The server does not take this kind of data.")],
  [1007, text("The server could not read what was sent.")],
  [1008, text("The server does not allow this connection.")],
  [1010, text("The server does not speak the way this browser needs.")],
  [4200, text("The server is restarting.")],
  [4408, text("This connection was too slow and fell behind.")],
  [TOO_MANY, text("The server has too many connections just now.")],
]);

const DO_NOT_COME_BACK = new Map([
  [1009, text("Something that was sent is larger than the server accepts.")],
  [4500, text("The server could make no sense of the request.")],
  [4501, text("Another streamer took over this stream.")],
  [4503, text("You have no permission for this stream.")],
  [4504, text("There is no such stream.")],
  [4510, text("The stream was closed, or you were removed from it.")],
]);

/**
 * The meaning of a close code: `{comesBack, reason}`, the reason being a sentence for a person.
 * 4500–4999: do not come back, nor after 1009; after any other code come back.
 * Where the server says why a connection is over for good, or what there is too much of, its words are more precise
 * than ours; on a page in another language where they are translated.
 */
export function verdict(code, said = "") {
  const ours = DO_NOT_COME_BACK.get(code) ?? COME_BACK.get(code);
  if (code >= 4500 && code <= 4999) {
    const end = say(ours ?? text("The server ended this connection for good (code {code})."), { code });
    return { comesBack: false, reason: said ? sayServer(said, end) : end };
  }
  if (code === TOO_MANY && said) return { comesBack: true, reason: sayServer(said, ours) };
  return { comesBack: !DO_NOT_COME_BACK.has(code), reason: say(ours ?? text("The connection was lost.")) };
}

/** Milliseconds until the next attempt after so many failures in a row: anywhere below an exponentially growing limit. */
export function backoff(failures, random = Math.random) {
  return random() * Math.min(BACKOFF_CAP, BACKOFF_BASE * 2 ** failures);
}

/**
 * Why there was never a connection. Nothing tells a page what became of a handshake, so that a server that lets in no
 * pages of its site looks like one that is not there: it is told what it can be.
 */
export function unreachable(address, origin = globalThis.origin) {
  const { host, origin: target } = new URL(address.replace(/^ws/, "http"));
  if (!origin || origin === target) return say("The server does not answer.");
  if (origin === "null") {
    return say("{host} does not answer, or does not let in a page without a site of its own.", { host });
  }
  return say("{host} does not answer, or does not let in pages of {origin}.", { host, origin });
}

/** `src` (absolute, or relative to the page) as a WebSocket address with `parameters` added to its query. */
export function socketURL(src, parameters = {}) {
  const url = new URL(src, globalThis.document?.baseURI ?? globalThis.location?.href);
  url.protocol = url.protocol.replace(/^http/, "ws");
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
  return url.href;
}

/** Whether a sub-protocol can be made of `token`: one that has other characters opens no socket. */
export function isToken(token) {
  return /^[\w!#$%&'*+.^`|~-]*$/.test(token);
}

/** The sub-protocols to offer: a token travels here, so that it stays out of addresses and access logs. */
export function protocols(token) {
  return token ? [PROTOCOL, `token.${token}`] : [PROTOCOL];
}

/** The time of a page: what a `clock` of the options replaces. */
export const CLOCK = {
  now: () => Date.now(), // not performance.now(): that stands still while a laptop sleeps
  setTimeout: (callback, delay) => globalThis.setTimeout(callback, delay),
  clearTimeout: (timer) => globalThis.clearTimeout(timer),
};

export class Connection extends EventTarget {
  #url;
  #options;
  #socket = null;
  #timer = null;
  #state = { name: "connecting" };
  #address = null;
  #wasOpen = false;
  #failures = 0;
  #openedAt = null;
  #heardAt = null;
  #pingedAt = null;
  #shutdownSeconds = null;
  #watching = null;

  /**
   * `url` is a function that returns the address for the next attempt. Options:
   * - `protocols`: sub-protocols to offer, the one that must be spoken first; none where there is none to speak;
   * - `ping`: the text frame that asks for a sign of life, or null to never ask;
   * - `WebSocket`, `clock`, `random`, `window`, `document`: what the browser gives, replaceable in tests.
   */
  constructor(url, options = {}) {
    super();
    this.#url = url;
    this.#options = {
      protocols: [PROTOCOL],
      ping: '{"event":"ping"}',
      WebSocket: globalThis.WebSocket,
      clock: CLOCK,
      random: Math.random,
      window: globalThis.window,
      document: globalThis.document,
      ...options,
    };
  }

  /**
   * One of
   * `{name: "connecting"}`, `{name: "open"}`,
   * `{name: "reconnecting", reason, seconds, at}` (the next attempt is at that time of the clock; 0 and null: now),
   * `{name: "gone", reason}` (will not come back) and `{name: "closed"}` (by us).
   */
  get state() {
    return this.#state;
  }

  get isOpen() {
    return this.#state.name === "open";
  }

  get isOver() {
    return this.#state.name === "gone" || this.#state.name === "closed";
  }

  /** The sub-protocol that the server chose; empty when it chose none. */
  get protocol() {
    return this.#socket?.protocol ?? "";
  }

  /** Bytes handed over that have not left the browser yet. */
  get bufferedAmount() {
    return this.#socket?.bufferedAmount ?? 0;
  }

  open() {
    this.#watching = new AbortController();
    const { window, document } = this.#options;
    const { signal } = this.#watching;
    window?.addEventListener("online", () => this.#online(), { signal });
    document?.addEventListener("visibilitychange", () => this.#visible(), { signal });
    this.#connect();
  }

  /** Hand a frame to the socket. Only while open: the caller keeps what was not confirmed. */
  send(frame) {
    this.#socket.send(frame);
  }

  /** Try now instead of later; nothing when connected or over. */
  retry() {
    if (!this.isOpen && !this.isOver) this.#connect();
  }

  /** Give this socket up, and come back: the caller noticed that the other side is gone. */
  lose() {
    if (this.isOpen) this.#lost(1006);
  }

  /** Leave for good. */
  close() {
    this.#end({ name: "closed" }, 1000);
  }

  /** Give up for good: what the other side says cannot be worked with. */
  fail(reason) {
    this.#end({ name: "gone", reason }, 1000);
  }

  /** The server said that it goes down within so many seconds: come back spread over that time, not all at once. */
  expectShutdown(seconds) {
    this.#shutdownSeconds = Number.isFinite(seconds) && seconds > 0 ? seconds : SHUTDOWN_SPREAD;
  }

  #connect() {
    this.#abandon();
    if (this.#state.name === "reconnecting") this.#become({ ...this.#state, seconds: 0, at: null });
    let socket;
    try {
      this.#address = this.#url();
      socket = new this.#options.WebSocket(this.#address, this.#options.protocols);
    } catch (error) {
      this.fail(say("This address cannot be connected to. ({error})", { error: error.message }));
      return;
    }
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.#opened();
    socket.onmessage = ({ data }) => this.#heard(data);
    socket.onclose = ({ code, reason }) => this.#lost(code, reason);
    this.#socket = socket;
    this.#after(HANDSHAKE_LIMIT, () => this.#lost(1006));
  }

  #opened() {
    this.#openedAt = this.#heardAt = this.#now();
    this.#pingedAt = null;
    this.#wasOpen = true;
    this.#stopTimer();
    if (this.#speaksPing()) this.#after(SILENCE, () => this.#checkSilence());
    this.#become({ name: "open" });
    this.dispatchEvent(new CustomEvent("open"));
  }

  #heard(data) {
    this.#heardAt = this.#now();
    this.#pingedAt = null;
    this.dispatchEvent(new CustomEvent("message", { detail: data }));
  }

  #speaksPing() {
    return this.#options.ping !== null && this.protocol === (this.#options.protocols[0] ?? "");
  }

  /** One timer for a whole connection, not one per frame: it looks how long it has been silent and sets itself again. */
  #checkSilence() {
    const silence = this.#now() - this.#heardAt;
    if (this.#pingedAt !== null && this.#now() - this.#pingedAt >= PATIENCE) {
      this.#lost(1006);
    } else if (this.#pingedAt !== null) {
      this.#after(PATIENCE - (this.#now() - this.#pingedAt), () => this.#checkSilence());
    } else if (silence >= SILENCE) {
      this.#ask();
    } else {
      this.#after(SILENCE - silence, () => this.#checkSilence());
    }
  }

  #ask() {
    this.#pingedAt = this.#now();
    this.#socket.send(this.#options.ping);
    this.#after(PATIENCE, () => this.#checkSilence());
  }

  #lost(code, said) {
    const held = this.#openedAt !== null && this.#now() - this.#openedAt >= HELD;
    if (held) this.#failures = 0;
    this.#abandon();
    const { comesBack, reason } = verdict(code, said);
    if (!comesBack) {
      this.#end({ name: "gone", reason });
      return;
    }
    const delay = this.#delay(code);
    this.#failures += 1;
    const why = code === 1006 && !this.#wasOpen ? unreachable(this.#address) : reason;
    this.#become({ name: "reconnecting", reason: why, seconds: delay / SECOND, at: this.#now() + delay });
    this.#after(delay, () => this.#connect());
  }

  #delay(code) {
    const { random } = this.#options;
    const announced = this.#shutdownSeconds ?? (code === 4200 ? SHUTDOWN_SPREAD : null);
    this.#shutdownSeconds = null;
    if (announced !== null) return random() * Math.min(BACKOFF_CAP, announced * SECOND);
    if (code !== TOO_MANY) return backoff(this.#failures, random);
    this.#failures = Math.max(this.#failures, TOO_MANY_FAILURES);
    // At least half of it: with full jitter some of very many come back at once, to be refused again.
    return backoff(this.#failures, () => (1 + random()) / 2);
  }

  /** The network is back: an attempt that began without it would only hang, and an open socket may be dead. */
  #online() {
    if (this.isOpen) this.#probe();
    else this.retry();
  }

  /** Timers of a hidden page sleep; what they would have noticed is looked at now. */
  #visible() {
    if (this.#options.document.visibilityState !== "visible") return;
    if (this.isOpen && this.#speaksPing() && this.#now() - this.#heardAt >= SILENCE + PATIENCE) this.#reconnectAtOnce();
    else if (this.#state.name === "reconnecting" && this.#state.at !== null) this.retry();
  }

  #probe() {
    if (!this.#speaksPing() || this.#pingedAt !== null) return;
    this.#stopTimer();
    this.#ask();
  }

  #reconnectAtOnce() {
    this.#become({ name: "reconnecting", reason: verdict(1006).reason, seconds: 0, at: null });
    this.#connect();
  }

  #end(state, code) {
    if (this.isOver) return;
    this.#abandon(code);
    this.#watching?.abort();
    this.#become(state);
  }

  /** Forget the socket. It is not waited for: closing a dead one takes a browser up to a minute. */
  #abandon(code) {
    this.#stopTimer();
    this.#openedAt = null;
    const socket = this.#socket;
    this.#socket = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close(code);
  }

  #become(state) {
    this.#state = state;
    this.dispatchEvent(new CustomEvent("state", { detail: state }));
  }

  #now() {
    return this.#options.clock.now();
  }

  #after(delay, callback) {
    this.#timer = this.#options.clock.setTimeout(callback, delay);
  }

  #stopTimer() {
    this.#options.clock.clearTimeout(this.#timer);
    this.#timer = null;
  }
}
