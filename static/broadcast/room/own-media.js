/**
 * The camera, the microphone and the screen of the person at this page.
 *
 * It promises:
 * - both are asked for together, so that a browser asks once; where one cannot be had, the other is;
 * - what cannot be had is no error, but told in `troubles`: one can be in a room without it, and try again;
 * - a microphone that is off stays open, silent, to be back at once; a camera that is off is let go, and its light with
 *   it, after a black picture for those who show the last one;
 * - a device that is unplugged is noticed.
 *
 * Event: `change`, whatever changed.
 */
const VIDEO = { width: { ideal: 1280 }, height: { ideal: 720 } };
const FADE = 300; // milliseconds in which a black picture reaches the others

const TRACKS = { microphone: "audioTrack", camera: "cameraTrack" };
const INPUTS = { microphone: "audioinput", camera: "videoinput" };

export class Media extends EventTarget {
  audioTrack = null;
  cameraTrack = null;
  screenTrack = null;
  /** Why there is no microphone or camera: an error as browsers throw it, or null. */
  troubles = { microphone: null, camera: null };
  /** Whether the person is being asked just now. */
  isAsking = false;
  /** The devices there are: `{id, label}`, and the id of the one in use. */
  devices = { microphone: [], camera: [] };
  chosen = { microphone: "", camera: "" };
  /** The stream that others know the tracks by. */
  stream;

  #fading = null;
  #browser;
  #work = Promise.resolve();

  /** `browser`: `mediaDevices`, `permissions`, `MediaStream`, `setTimeout`, replaceable in tests. */
  constructor(browser = theBrowser()) {
    super();
    this.#browser = browser;
    this.stream = new browser.MediaStream();
    browser.mediaDevices?.addEventListener("devicechange", () => this.#listDevices());
  }

  /** The tracks that others see. */
  get videoTrack() {
    return this.screenTrack ?? this.cameraTrack ?? this.#fading;
  }

  get isMicrophoneOn() {
    return this.audioTrack?.enabled === true;
  }

  get isCameraOn() {
    return this.cameraTrack !== null;
  }

  get isScreenOn() {
    return this.screenTrack !== null;
  }

  get canShareScreen() {
    return typeof this.#browser.mediaDevices?.getDisplayMedia === "function";
  }

  /** `{microphone, camera, screen}`: what is sent now. */
  get sending() {
    return { microphone: this.isMicrophoneOn, camera: this.isCameraOn, screen: this.isScreenOn };
  }

  /** Ask for both, or for one alone. */
  start(kinds = ["microphone", "camera"]) {
    return this.#inTurn(() => this.#ask(kinds));
  }

  setMicrophone(on) {
    return this.#inTurn(async () => {
      if (on && !this.audioTrack) await this.#ask(["microphone"]);
      if (this.audioTrack) this.audioTrack.enabled = on;
    });
  }

  setCamera(on) {
    return this.#inTurn(async () => {
      if (on && !this.cameraTrack) await this.#ask(["camera"]);
      else if (!on && this.cameraTrack) this.#fade();
    });
  }

  /** Use another device of a kind, at once if that kind is on. */
  choose(kind, id) {
    return this.#inTurn(async () => {
      this.chosen[kind] = id;
      const track = this[TRACKS[kind]];
      if (!track) return;
      const { enabled } = track;
      this.#drop(kind);
      await this.#ask([kind]);
      if (this[TRACKS[kind]]) this[TRACKS[kind]].enabled = enabled;
    });
  }

  /** Have the person choose a screen or window to show; nothing happens if they do not. */
  shareScreen() {
    return this.#inTurn(async () => {
      try {
        const stream = await this.#browser.mediaDevices.getDisplayMedia({ video: true });
        [this.screenTrack] = stream.getVideoTracks();
        this.screenTrack.contentHint = "detail";
        // By the browser's own button, too.
        this.screenTrack.onended = () => this.stopScreen();
      } catch {
        this.screenTrack = null;
      }
    });
  }

  stopScreen() {
    return this.#inTurn(async () => {
      this.screenTrack?.stop();
      this.screenTrack = null;
    });
  }

  /** Let everything go. */
  stop() {
    for (const track of [this.audioTrack, this.cameraTrack, this.screenTrack, this.#fading]) track?.stop();
    this.audioTrack = this.cameraTrack = this.screenTrack = this.#fading = null;
    this.#changed();
  }

  /** One thing at a time, however fast buttons are pressed. */
  #inTurn(work) {
    this.#work = this.#work.then(work).then(() => this.#changed());
    return this.#work;
  }

  async #ask(kinds) {
    this.isAsking = true;
    this.#changed();
    await this.#get(kinds);
    await this.#listDevices();
    this.isAsking = false;
  }

  async #get(kinds) {
    try {
      if (!this.#browser.mediaDevices) throw new DOMException("There are no devices here.", "InsecureError");
      this.#take(await this.#browser.mediaDevices.getUserMedia(this.#constraints(kinds)));
      for (const kind of kinds) this.troubles[kind] = null;
    } catch (error) {
      for (const kind of kinds) this.troubles[kind] = error;
      if (kinds.length > 1) for (const kind of await this.#worthAsking(kinds, error)) await this.#get([kind]);
      else if (error.name === "OverconstrainedError") await this.#getAnother(kinds[0]);
    }
  }

  /** The device that was chosen is gone. */
  async #getAnother(kind) {
    if (!this.chosen[kind]) return;
    this.chosen[kind] = "";
    await this.#get([kind]);
  }

  /** The devices to ask for one by one: none after a no to both, and none that does not exist here. */
  async #worthAsking(kinds, { name }) {
    if (name === "InsecureError") return [];
    if (name !== "NotAllowedError") return kinds;
    const states = await Promise.all(kinds.map((kind) => this.#permission(kind)));
    return states.includes("denied") ? kinds.filter((_, i) => states[i] !== "denied") : [];
  }

  async #permission(name) {
    try {
      return (await this.#browser.permissions.query({ name })).state;
    } catch {
      return "denied"; // not every browser knows these names
    }
  }

  #constraints(kinds) {
    const device = (kind) => (this.chosen[kind] ? { deviceId: { exact: this.chosen[kind] } } : {});
    return {
      audio: kinds.includes("microphone") && { ...device("microphone") },
      video: kinds.includes("camera") && { ...VIDEO, ...device("camera") },
    };
  }

  #take(stream) {
    for (const track of stream.getTracks()) {
      const kind = track.kind === "audio" ? "microphone" : "camera";
      this[TRACKS[kind]]?.stop();
      this[TRACKS[kind]] = track;
      this.chosen[kind] = track.getSettings().deviceId ?? this.chosen[kind];
      track.onended = () => this.#unplugged(kind, track);
    }
  }

  #unplugged(kind, track) {
    if (this[TRACKS[kind]] !== track) return;
    this[TRACKS[kind]] = null;
    this.troubles[kind] = new DOMException("It was unplugged.", "UnpluggedError");
    this.#changed();
  }

  #drop(kind) {
    const track = this[TRACKS[kind]];
    this[TRACKS[kind]] = null;
    if (track) track.onended = null;
    track?.stop();
  }

  #fade() {
    const track = this.cameraTrack;
    track.onended = null;
    track.enabled = false;
    this.#fading?.stop();
    this.#fading = track;
    this.cameraTrack = null;
    this.#browser.setTimeout(() => {
      track.stop();
      if (this.#fading === track) this.#fading = null;
      this.#changed();
    }, FADE);
  }

  async #listDevices() {
    const found = (await this.#browser.mediaDevices?.enumerateDevices()) ?? [];
    for (const kind of Object.keys(INPUTS)) {
      // Before a person said yes they have no names.
      const named = found.filter((device) => device.kind === INPUTS[kind] && device.label);
      this.devices[kind] = named.map(({ deviceId: id, label }) => ({ id, label }));
    }
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new CustomEvent("change"));
  }
}

function theBrowser() {
  const { mediaDevices, permissions } = navigator;
  return { mediaDevices, permissions, MediaStream, setTimeout: (...args) => setTimeout(...args) };
}
