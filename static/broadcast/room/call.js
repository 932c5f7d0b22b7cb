/**
 * A call: who is in the room, a `Link` to each of them, and the chat.
 *
 * Who makes the first offer is as palava's clients have it: who is in the room offers to who comes exactly if that one's
 * `status.user_agent` is "chrome"; else who comes offers.
 *
 * **The media outlive the signalling.** A socket that is lost closes no link. Each peer who comes back has a new id, and is
 * found again so:
 * - every visit of one of our pages to a room has an id of its own, told in the status with which it joins. That anybody
 *   can say; so it is no more than a reason to wait a moment with a new connection to who may be an old acquaintance;
 * - over the data channel of each link the page then says which peer it is now. That only the one at the other end can
 *   do, and with it the link goes on under the new id;
 * - where nothing comes over the data channel in time, the link was lost too, and a new one is made.
 * A peer who left while its link is alive is kept for a while, since it may be on its way back. Whoever leaves on purpose
 * closes the link, and is gone at once.
 *
 * Events, with `{peer}` as their detail and more where it is named: `came`, `went`, `changed`, `message` (`text`).
 */
const SECOND = 1000;
/** How long who may be an old acquaintance is waited for, before a new connection is made to it. */
const CLAIM = 3 * SECOND;
/** How long a peer is kept who left the server while its media go on. */
const GRACE = 60 * SECOND;

const CLOCK = {
  setTimeout: (callback, delay) => globalThis.setTimeout(callback, delay),
  clearTimeout: (timer) => globalThis.clearTimeout(timer),
};

/** Somebody else in the room. */
class Peer {
  /** Whether the server does not have it in the room just now, while its media go on. */
  isAbsent = false;
  /** The id of its page's visit, as said over the data channel. */
  visit = null;
  /** The status that it gave itself, until the server has told it. */
  claim = null;
  timer = null;
  link;

  constructor(id, status) {
    this.id = id;
    this.status = status;
  }

  /** Its name for itself; "" without one. */
  get name() {
    return typeof this.status.name === "string" ? this.status.name : "";
  }
}

export class Call extends EventTarget {
  /** Everybody else, in the order in which they came. */
  peers = new Set();

  #signaling;
  #options;
  #clock;
  #ownId = "";
  #sending = { microphone: false, camera: false, screen: false };
  #waiting = new Map(); // peer id → {status, timer}: may be somebody we have a link to

  /**
   * `signaling` is a `Signaling`. Options: `visit`, the id of this visit; `userAgent`, as told to the server;
   * `makeLink(options)`, which makes a `Link` with `offers`, `isPolite`, `send` and `greetings` given; `clock`.
   */
  constructor(signaling, options) {
    super();
    this.#signaling = signaling;
    this.#options = options;
    this.#clock = options.clock ?? CLOCK;
    signaling.addEventListener("joined", ({ detail }) => this.#joined(detail));
    signaling.addEventListener("came", ({ detail }) => this.#meet(detail, detail.status.user_agent === "chrome"));
    signaling.addEventListener("left", ({ detail }) => this.#left(detail.id));
    signaling.addEventListener("status", ({ detail }) => this.#updateStatus(detail));
    signaling.addEventListener("relay", ({ detail }) => this.#receive(detail));
  }

  /** Say to everybody in the room; false when that is not possible now. */
  sendMessage(text) {
    if (!this.#signaling.isJoined) return false;
    for (const peer of this.peers) {
      if (!peer.isAbsent) this.#signaling.send(peer.id, { event: "message", data: text });
    }
    return true;
  }

  /** Tell our pages what is sent from now on: `{microphone, camera, screen}`, booleans. */
  tellSending(sending) {
    this.#sending = sending;
    for (const { link } of this.peers) link.say(this.#sendingEvent());
  }

  /** Send these tracks from now on, either of which may be null. */
  replaceTracks(media) {
    for (const { link } of this.peers) link.replaceTracks(media);
  }

  /** Leave the room, for good. */
  close() {
    for (const id of [...this.#waiting.keys()]) this.#stopWaiting(id);
    for (const peer of [...this.peers]) this.#remove(peer);
    this.#signaling.close();
  }

  // -- what the server says

  #joined({ ownId, peers }) {
    this.#ownId = ownId;
    for (const id of [...this.#waiting.keys()]) this.#stopWaiting(id);
    for (const { link } of this.peers) link.say(this.#here());
    const there = new Map(peers.map((peer) => [peer.id, peer]));
    const offers = this.#options.userAgent !== "chrome";
    for (const peer of [...this.peers]) {
      if (there.has(peer.id)) this.#isStillThere(peer, there.get(peer.id), offers);
      else this.#miss(peer);
      there.delete(peer.id);
    }
    for (const peer of there.values()) this.#meet(peer, offers);
  }

  /** We are somebody new to a peer. One of our pages knows us again, if the link is alive; anybody else hung up. */
  #isStillThere(peer, { id, status }, offers) {
    if (!peer.visit || !peer.link.isAlive) this.#link(peer, offers);
    this.#isBack(peer, { id, status });
  }

  /** Somebody is in the room whose id is new to us. */
  #meet({ id, status }, offers) {
    const claimant = this.#find((peer) => peer.claim === id);
    if (claimant) {
      this.#isBack(claimant, { id, status });
    } else if (this.#mayBeBack(status)) {
      // Both sides know it, so that palava's rule is not needed.
      const timer = this.#clock.setTimeout(() => this.#add({ id, status }, offers || "visit" in status), CLAIM);
      this.#waiting.set(id, { status, timer });
    } else {
      this.#add({ id, status }, offers);
    }
  }

  /** The server tells visits of who comes, but not of who was there before us. */
  #mayBeBack({ visit }) {
    return this.#find((peer) => peer.link.isAlive && (visit ? peer.visit === visit : peer.visit && peer.isAbsent));
  }

  #left(id) {
    this.#stopWaiting(id);
    const peer = this.#byId(id);
    if (peer) this.#miss(peer);
  }

  #updateStatus({ id, status }) {
    const peer = this.#byId(id) ?? this.#waiting.get(id);
    if (!peer) return;
    peer.status = { ...peer.status, ...status };
    if (peer instanceof Peer) this.#emit("changed", peer);
  }

  #receive({ id, data }) {
    if (data.event === "message") {
      const peer = this.#byId(id);
      if (peer && typeof data.data === "string") this.#emit("message", peer, { text: data.data });
    } else if (["offer", "answer", "ice_candidate"].includes(data.event)) {
      this.#negotiate(id, data);
    }
  }

  // -- links

  #negotiate(id, data) {
    const isOffer = data.event === "offer";
    const waiting = this.#waiting.get(id);
    // It did not wait: its old link is lost.
    if (waiting && isOffer) this.#add({ id, status: waiting.status }, false);
    const peer = this.#byId(id);
    if (!peer) return;
    if (isOffer && this.#beginsAnew(peer, data)) this.#link(peer, false);
    if (isOffer) peer.link.id ??= data.link ?? null;
    if ((data.link ?? peer.link.id) === peer.link.id) peer.link.receive(data);
  }

  /** Whether an offer begins another connection than the one we have, and should have it. */
  #beginsAnew({ id, link }, { link: offered }) {
    if (!offered || link.id === null || link.id === offered) return false;
    return link.isAnswered || this.#isPoliteTo(id);
  }

  #isPoliteTo(id) {
    return this.#ownId > id;
  }

  #add({ id, status }, offers) {
    this.#stopWaiting(id);
    const peer = new Peer(id, status);
    this.#link(peer, offers);
    this.peers.add(peer);
    this.#emit("came", peer);
  }

  /** Connect to the peer, which ends a connection that there was before. */
  #link(peer, offers) {
    peer.link?.close();
    const link = this.#options.makeLink({
      offers,
      isPolite: () => this.#isPoliteTo(peer.id),
      send: (data) => this.#signaling.send(peer.id, data),
      greetings: () => [this.#here(), this.#sendingEvent()],
    });
    peer.link = link;
    link.addEventListener("change", () => this.#linkChanged(peer));
    link.addEventListener("gone", () => this.#hungUp(peer));
    link.addEventListener("here", ({ detail }) => this.#isHere(peer, detail));
    if (this.peers.has(peer)) this.#emit("changed", peer);
  }

  #linkChanged(peer) {
    if (peer.isAbsent && !peer.link.isAlive) this.#remove(peer);
    else this.#emit("changed", peer);
  }

  /** An event of the server about a peer in the room. */
  #hungUp(peer) {
    if (peer.isAbsent || !this.#signaling.isJoined) this.#remove(peer);
    else this.#emit("changed", peer);
  }

  /** The page at the other end of a link says which peer it is. */
  #isHere(peer, { peerId, visit }) {
    if (typeof peerId !== "string" || typeof visit !== "string") return;
    peer.visit ??= visit;
    const waiting = this.#waiting.get(peerId);
    const other = this.#byId(peerId);
    if (waiting) this.#isBack(peer, { id: peerId, status: waiting.status });
    else if (!other) peer.claim = peerId;
    // A new connection was made meanwhile.
    else if (other !== peer && other.visit === peer.visit) this.#remove(peer);
    const former = this.#find((one) => one !== peer && one.isAbsent && one.visit === peer.visit);
    if (former) this.#remove(former);
  }

  #isBack(peer, { id, status }) {
    this.#stopWaiting(id);
    this.#clock.clearTimeout(peer.timer);
    Object.assign(peer, { id, status: { ...peer.status, ...status }, isAbsent: false, claim: null });
    peer.link.resume();
    this.#emit("changed", peer);
  }

  /** The server has this peer in the room no more. */
  #miss(peer) {
    if (peer.isAbsent) return;
    if (!peer.visit || !peer.link.isAlive) {
      this.#remove(peer);
      return;
    }
    peer.isAbsent = true;
    peer.timer = this.#clock.setTimeout(() => this.#remove(peer), GRACE);
    this.#emit("changed", peer);
  }

  #remove(peer) {
    this.#clock.clearTimeout(peer.timer);
    peer.link.close();
    if (this.peers.delete(peer)) this.#emit("went", peer);
  }

  #stopWaiting(id) {
    this.#clock.clearTimeout(this.#waiting.get(id)?.timer);
    this.#waiting.delete(id);
  }

  // -- what we say of ourselves

  #here() {
    return { event: "here", peer_id: this.#ownId, visit: this.#options.visit };
  }

  #sendingEvent() {
    return { event: "sending", ...this.#sending };
  }

  // -- finding, telling

  #byId(id) {
    return this.#find((peer) => peer.id === id);
  }

  #find(condition) {
    return [...this.peers].find(condition);
  }

  #emit(name, peer, more = {}) {
    this.dispatchEvent(new CustomEvent(name, { detail: { peer, ...more } }));
  }
}
