/**
 * A room's signalling socket: the palava protocol over a `Connection` that comes back.
 *
 * It promises:
 * - on each new connection the room is joined again, with the status as it is then; the server gives a new id each time;
 * - a `ping` every 5 s, and a connection on which six of them brought no sign of life is given up, and comes back;
 * - what is no JSON object, or no event that is known here, changes nothing.
 *
 * It knows nothing of media: `call.js` says what a peer that came or went means.
 *
 * Events, each with a detail:
 * `state` (see `Connection.state`; "joined" is its own: the room was entered), `joined` `{ownId, peers: [{id, status}]}`,
 * `came` `{id, status}`, `left` `{id}`, `status` `{id, status}`, `relay` `{id, data}`, and `refused` `{message}`: the room
 * was not entered, and will not be.
 */
import { Connection } from "../socket/connection.js";
import { sayServer, text } from "../socket/language.js";

const SECOND = 1000;
const PING = 5 * SECOND;
const UNANSWERED = 6;
const AGAIN = 5 * SECOND; // who was in before may be kept out by the ghost of the lost connection for a while
const ATTEMPTS = 12;
const AWAY = "not available now, try again"; // what is told while the server has no engine

const REFUSED = text("The room could not be entered.");

const CLOCK = {
  now: () => Date.now(),
  setTimeout: (callback, delay) => globalThis.setTimeout(callback, delay),
  clearTimeout: (timer) => globalThis.clearTimeout(timer),
};

export class Signaling extends EventTarget {
  #connection;
  #room;
  #status;
  #clock;
  #state = { name: "connecting" };
  #unanswered = 0;
  #pinging = null;
  #again = null;
  #refusals = 0;
  #wasIn = false;

  /**
   * `url` is that of the socket, `room` the room's id, `status` what the others are told of us.
   * `options` are those of `Connection`.
   */
  constructor(url, room, status, options = {}) {
    super();
    this.#room = room;
    this.#status = status;
    this.#clock = options.clock ?? CLOCK;
    // It asks for signs of life in its own way, below.
    this.#connection = new Connection(() => url, { protocols: [], ...options, ping: null });
    this.#connection.addEventListener("state", ({ detail }) => this.#connectionBecame(detail));
    this.#connection.addEventListener("message", ({ detail }) => this.#receive(detail));
  }

  get state() {
    return this.#state;
  }

  get isJoined() {
    return this.#state.name === "joined";
  }

  open() {
    this.#connection.open();
  }

  /** Try now instead of later. */
  retry() {
    this.#connection.retry();
  }

  /** Leave the room, for good. */
  close() {
    if (this.isJoined) this.#say({ event: "leave_room" });
    this.#stopTimers();
    this.#connection.close();
  }

  /** Tell the others something new of us, now or when the room is entered. */
  updateStatus(status) {
    this.#status = { ...this.#status, ...status };
    if (this.isJoined) this.#say({ event: "update_status", status: this.#status });
  }

  /** Have the server hand `data` to one peer; false when it cannot be sent now. */
  send(id, data) {
    if (this.isJoined) this.#say({ event: "send_to_peer", peer_id: id, data });
    return this.isJoined;
  }

  #say(event) {
    this.#connection.send(JSON.stringify(event));
  }

  #connectionBecame(state) {
    this.#stopTimers();
    if (state.name !== "open") {
      this.#become(state);
      return;
    }
    this.#refusals = 0;
    this.#unanswered = 0;
    this.#pinging = this.#clock.setTimeout(() => this.#ping(), PING);
    this.#become({ name: "connecting" });
    this.#join();
  }

  #join() {
    this.#say({ event: "join_room", room_id: this.#room, status: this.#status });
  }

  #ping() {
    if (this.#unanswered >= UNANSWERED) {
      this.#connection.lose();
      return;
    }
    this.#unanswered += 1;
    this.#say({ event: "ping" });
    this.#pinging = this.#clock.setTimeout(() => this.#ping(), PING);
  }

  #receive(frame) {
    this.#unanswered = 0;
    let event;
    try {
      event = JSON.parse(frame);
    } catch {
      return;
    }
    if (isObject(event)) this.#act(event);
  }

  #act(event) {
    const { event: name, peer_id: id, sender_id: sender } = event;
    const status = isObject(event.status) ? event.status : {};
    if (name === "joined_room") this.#joined(event);
    else if (name === "error") this.#failed(event);
    else if (name === "shutdown") this.#connection.expectShutdown(event.seconds);
    else if (!this.isJoined) return;
    else if (name === "new_peer") this.#emit("came", { id, status });
    else if (name === "peer_left") this.#emit("left", { id: sender });
    else if (name === "peer_updated_status") this.#emit("status", { id: sender, status });
    else if (typeof sender === "string") this.#emit("relay", { id: sender, data: event });
  }

  #joined({ own_id: ownId, peers }) {
    this.#wasIn = true;
    this.#become({ name: "joined" });
    const others = peers.map(({ peer_id: id, status }) => ({ id, status: isObject(status) ? status : {} }));
    this.#emit("joined", { ownId, peers: others });
  }

  /** An error is of the join while that was not answered. Later ones are of relays to who has just left. */
  #failed({ message, description }) {
    if (this.isJoined) return;
    if (message !== AWAY) this.#refusals += 1;
    if (this.#wasIn && this.#refusals < ATTEMPTS) {
      this.#again = this.#clock.setTimeout(() => this.#join(), AGAIN);
      return;
    }
    this.#stopTimers();
    this.#connection.close();
    this.#emit("refused", { message: sayServer(message ?? description ?? REFUSED, REFUSED) });
  }

  #become(state) {
    this.#state = state;
    this.#emit("state", state);
  }

  #stopTimers() {
    for (const timer of [this.#pinging, this.#again]) this.#clock.clearTimeout(timer);
  }

  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
