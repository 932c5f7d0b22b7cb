/**
 * The media connection to one peer: an `RTCPeerConnection` with perfect negotiation.
 *
 * It promises:
 * - either side may negotiate again at any time (a restart of ICE after the network changed); when both do at once the
 *   polite one gives way. Who makes the first offer is for the caller to say, since palava's clients do not give way;
 * - microphone and camera come and go without negotiating: one audio and one video transceiver are there from the
 *   beginning, and only their tracks are replaced;
 * - between two of our pages there is a data channel as well, over which each says who it is at the signalling server
 *   and what it sends. What arrives on it comes from the one we have been talking to, whatever a server says.
 *
 * It speaks as palava's clients do: `{event: "offer" | "answer", sdp: {type, sdp}}` and `{event: "ice_candidate",
 * sdpmlineindex, sdpmid, candidate}`. Ours have one field more, `link`, the same for all of one connection: so an offer
 * that begins a new connection is not mistaken for one that goes on with the old.
 *
 * Events: `change` (what can be read here changed), `here` (detail: what the other side said of itself), `gone` (the
 * other side closed it).
 */
import { uuid } from "../socket/uuid.js";

const CHANNEL = { negotiated: true, id: 0 };
const KINDS = ["audio", "video"];

export class Link extends EventTarget {
  /** Which connection to this peer it is; null until the other side, which begins it, says so. */
  id = null;
  /** The stream that is received. */
  stream;
  /** `{microphone, camera, screen}`, all booleans, as told by one of our pages; null from anybody else. */
  told = null;
  /** Whether our data channel was open: the other side is one of our pages. */
  isOurs = false;

  #connection;
  #options;
  #senders = {};
  #channel = null;
  #makingOffer = false;
  #settingAnswer = false;
  #ignoringOffer = false;
  #isClosed = false;

  /**
   * Options:
   * - `offers`: whether this side makes the first offer;
   * - `isPolite()`: whether this side gives way;
   * - `send(data)`: hands what is to be signalled to the other side, if that is possible now;
   * - `greetings()`: what is said over the data channel when it opens, a list of objects;
   * - `media`: `{stream, audioTrack, videoTrack}`, what is sent: tracks may be null;
   * - `configuration`, `RTCPeerConnection`, `MediaStream`: for the browser, replaceable in tests.
   */
  constructor(options) {
    super();
    this.#options = { ...globalBrowser(), ...options };
    this.stream = new this.#options.MediaStream();
    const connection = new this.#options.RTCPeerConnection(this.#options.configuration);
    this.#connection = connection;
    connection.onnegotiationneeded = () => this.#settle(this.#offer());
    connection.onicecandidate = ({ candidate }) => this.#tellCandidate(candidate);
    connection.onconnectionstatechange = () => this.#connectionBecame();
    connection.ontrack = ({ track }) => this.#receiveTrack(track);
    if (options.offers) this.#begin();
  }

  /** "new", "connecting", "connected", "disconnected", "failed" or "closed". */
  get state() {
    return this.#isClosed ? "closed" : this.#connection.connectionState;
  }

  /** Whether the other side is there as far as one can see: media may arrive, and it did not hang up. */
  get isAlive() {
    return this.#channel?.readyState === "open" && ["connected", "disconnected"].includes(this.state);
  }

  /** Whether both sides agreed once. */
  get isAnswered() {
    return this.#connection.remoteDescription !== null;
  }

  /** Take a signal of the other side. Nonsense is logged in the console, and changes nothing. */
  async receive(data) {
    if (data.event === "ice_candidate") await this.#settle(this.#addCandidate(data));
    else if (data.event === data.sdp?.type) await this.#settle(this.#describe(data.sdp));
  }

  /** Signalling works again: say what may have been lost meanwhile. */
  resume() {
    if (this.#connection.signalingState === "have-local-offer") this.#tellDescription();
    else if (this.state === "failed") this.#connection.restartIce();
  }

  /** Say something over the data channel; nothing where there is none. */
  say(event) {
    if (this.#channel?.readyState === "open") this.#channel.send(JSON.stringify(event));
  }

  /** Send these tracks, either of which may be null, from now on. */
  async replaceTracks({ audioTrack, videoTrack }) {
    await Promise.all([this.#replace("audio", audioTrack), this.#replace("video", videoTrack)]);
  }

  /** How loud the other side is: 0 to 1. */
  get loudness() {
    const receiver = this.#connection.getReceivers?.().find(({ track }) => track.kind === "audio");
    return receiver?.getSynchronizationSources()[0]?.audioLevel ?? 0;
  }

  close() {
    this.#isClosed = true;
    if (this.#channel) this.#channel.onclose = null;
    this.#connection.close();
  }

  // -- tracks

  #begin() {
    this.id = uuid();
    this.#openChannel();
    this.#addMissing();
  }

  #addMissing() {
    const { stream, audioTrack, videoTrack } = this.#options.media;
    const tracks = { audio: audioTrack, video: videoTrack };
    for (const kind of KINDS.filter((kind) => !this.#senders[kind])) {
      const how = { direction: "sendrecv", streams: [stream] };
      this.#senders[kind] = this.#connection.addTransceiver(tracks[kind] ?? kind, how).sender;
    }
  }

  /** Send over what the other side offered, instead of a line of our own beside each. */
  async #adopt() {
    const { stream } = this.#options.media;
    for (const transceiver of this.#connection.getTransceivers()) {
      const { kind } = transceiver.receiver.track;
      if (this.#senders[kind] || transceiver.direction === "stopped") continue;
      this.#senders[kind] = transceiver.sender;
      transceiver.direction = "sendrecv";
      transceiver.sender.setStreams?.(stream);
    }
    await this.replaceTracks(this.#options.media);
  }

  async #replace(kind, track) {
    const sender = this.#senders[kind];
    if (sender && sender.track !== track && !this.#isClosed) await sender.replaceTrack(track);
  }

  #receiveTrack(track) {
    if (this.stream.getTracks().some(({ kind }) => kind === track.kind)) return;
    this.stream.addTrack(track);
    track.onmute = track.onunmute = () => this.#changed();
    this.#changed();
  }

  // -- negotiation

  async #offer() {
    this.#makingOffer = true;
    try {
      await this.#connection.setLocalDescription();
      this.#tellDescription();
    } finally {
      this.#makingOffer = false;
    }
  }

  async #describe(description) {
    if (description.type === "offer") await this.#takeOffer(description);
    else await this.#takeAnswer(description);
  }

  async #takeOffer(description) {
    const isStable = this.#connection.signalingState === "stable" || this.#settingAnswer;
    this.#ignoringOffer = (this.#makingOffer || !isStable) && !this.#options.isPolite();
    if (this.#ignoringOffer) return;
    // Where this side has an offer of its own under way, it is taken back.
    await this.#connection.setRemoteDescription(description);
    if (this.id !== null) this.#openChannel();
    await this.#adopt();
    await this.#connection.setLocalDescription();
    this.#tellDescription();
    this.#addMissing();
  }

  async #takeAnswer(description) {
    this.#settingAnswer = true;
    try {
      await this.#connection.setRemoteDescription(description);
    } finally {
      this.#settingAnswer = false;
    }
  }

  async #addCandidate({ candidate, sdpmlineindex: sdpMLineIndex, sdpmid: sdpMid }) {
    if (typeof candidate !== "string" || candidate === "") return;
    try {
      await this.#connection.addIceCandidate({ candidate, sdpMLineIndex, sdpMid });
    } catch (error) {
      // A candidate of an offer that was not taken fits nothing.
      if (!this.#ignoringOffer) throw error;
    }
  }

  #tellDescription() {
    const { type, sdp } = this.#connection.localDescription;
    this.#tell({ event: type, sdp: { type, sdp } });
  }

  #tellCandidate(found) {
    if (!found?.candidate) return;
    const { candidate, sdpMLineIndex: sdpmlineindex, sdpMid: sdpmid } = found;
    this.#tell({ event: "ice_candidate", sdpmlineindex, sdpmid, candidate });
  }

  #tell(data) {
    this.#options.send(this.id === null ? data : { ...data, link: this.id });
  }

  /** Do it; a failure concerns this peer alone. */
  async #settle(work) {
    try {
      await work;
    } catch (error) {
      if (!this.#isClosed) console.warn("A peer could not be understood.", error);
    }
  }

  #connectionBecame() {
    if (this.state === "failed") this.#connection.restartIce();
    this.#changed();
  }

  // -- the data channel

  #openChannel() {
    if (this.#channel) return;
    this.#channel = this.#connection.createDataChannel("broadcast", CHANNEL);
    this.#channel.onopen = () => this.#options.greetings().forEach((event) => this.say(event));
    this.#channel.onmessage = ({ data }) => this.#hear(data);
    this.#channel.onclose = () => this.#emit("gone");
  }

  #hear(data) {
    let event;
    try {
      event = JSON.parse(data);
    } catch {
      return;
    }
    this.isOurs = true;
    if (event?.event === "here") {
      this.#emit("here", { peerId: event.peer_id, visit: event.visit });
    } else if (event?.event === "sending") {
      const { microphone, camera, screen } = event;
      this.told = { microphone: microphone === true, camera: camera === true, screen: screen === true };
      this.#changed();
    }
  }

  #changed() {
    this.#emit("change");
  }

  #emit(name, detail = {}) {
    if (!this.#isClosed) this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

function globalBrowser() {
  return { RTCPeerConnection: globalThis.RTCPeerConnection, MediaStream: globalThis.MediaStream };
}
