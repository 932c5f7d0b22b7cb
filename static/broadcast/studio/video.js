/**
 * The video of the studio: a person chooses a source, sees what will be seen, and broadcasts it.
 *
 * A choice holds until the broadcast ends: then sources and quality can be chosen again.
 */
import { devices, open, remedy, stop } from "./capture.js";
import { Meter } from "./meter.js";
import { QUALITIES, qualityWords, rate } from "./qualities.js";
import { Recorder } from "./recorder.js";
import { number, say } from "../socket/language.js";

const METER_EVERY = 100; // milliseconds
const FIGURES_EVERY = 500;
const QUIET = 0.1; // of a level: hardly a sound
const KINDS = { camera: "videoinput", microphone: "audioinput" };

export class VideoStudio {
  #page;
  #told;
  #form;
  #stream = null;
  #recorder = null;
  #meter = new Meter();
  #opening = 0; // the number of the newest attempt to open a source
  #timers = [];

  /** `told.start()` answers the `Streamer` to broadcast through, `told.stop()` says that it is over. */
  constructor(page, told) {
    this.#page = page;
    this.#told = told;
    this.#form = this.#find("video-form");
    this.#fillQualities();
    this.#wire();
    this.#listDevices();
    this.#show();
  }

  get isOnAir() {
    return this.#recorder !== null;
  }

  /** The connection is gone for good. */
  ended(reason) {
    if (this.isOnAir) this.#end(`${say("The broadcast ended.")} ${reason}`);
  }

  #wire() {
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#start();
    });
    this.#find("stop").addEventListener("click", () => this.#end(say("The broadcast ended.")));
    this.#find("look").addEventListener("click", () => this.#look());
    this.#form.addEventListener("change", () => this.#chose());
    navigator.mediaDevices?.addEventListener("devicechange", () => this.#listDevices());
  }

  // -- what there is to choose

  #fillQualities() {
    const options = [...QUALITIES].map(([id, { name }]) => new Option(say(name), id, id === "medium", id === "medium"));
    this.#find("quality").replaceChildren(...options);
  }

  async #listDevices() {
    for (const [name, kind] of Object.entries(KINDS)) {
      const select = this.#find(name);
      const chosen = select.value;
      const found = await devices(kind);
      for (const option of select.querySelectorAll("[data-device]")) option.remove();
      for (const device of found) {
        const option = new Option(device.name, device.id);
        option.dataset.device = "";
        select.add(option);
      }
      if (found.some(({ id }) => id === chosen)) select.value = chosen;
    }
  }

  get #choice() {
    return {
      source: this.#form.elements.source.value,
      camera: this.#find("camera").value,
      microphone: this.#find("microphone").value,
      quality: QUALITIES.get(this.#find("quality").value),
    };
  }

  /** A preview follows what is chosen; a screen is asked for when a button is pressed alone. */
  #chose() {
    this.#show();
    if (!this.#stream) return;
    this.#close();
    if (this.#choice.source !== "screen") this.#open();
  }

  // -- the source

  #look() {
    if (this.#stream) this.#close();
    else this.#open();
  }

  /** Whether the source is open. */
  async #open() {
    const number = ++this.#opening;
    const { source } = this.#choice;
    this.#tell("");
    this.#words(say("Waiting for the browser’s permission…"));
    try {
      const stream = await open(this.#choice);
      if (number !== this.#opening) stop(stream); // another one was chosen meanwhile
      else this.#opened(stream);
      return number === this.#opening;
    } catch (error) {
      if (number === this.#opening) this.#refused(error, source);
      return false;
    }
  }

  #opened(stream) {
    this.#stream = stream;
    for (const track of stream.getTracks()) track.addEventListener("ended", () => this.#lost(stream));
    const preview = this.#find("preview");
    preview.srcObject = stream;
    preview.play().catch(() => {}); // it was closed again before it began
    this.#meter.open(stream);
    this.#timers = [setInterval(() => this.#showLevel(), METER_EVERY), setInterval(() => this.#showFigures(), FIGURES_EVERY)];
    this.#listDevices(); // with a permission they have names
    this.#show();
  }

  #refused(error, source) {
    this.#tell(remedy(error, source));
    this.#show();
  }

  /** Unplugged, or the browser's own button for it was pressed. */
  #lost(stream) {
    if (stream !== this.#stream) return;
    const words = say("The source was closed or unplugged.");
    if (this.isOnAir) this.#end(`${words} ${say("The broadcast ended.")}`);
    else this.#tell(words);
    this.#close();
  }

  #close() {
    this.#opening += 1;
    this.#timers.forEach(clearInterval);
    this.#meter.close();
    if (this.#stream) stop(this.#stream);
    this.#stream = null;
    this.#find("preview").srcObject = null;
    this.#showLevel();
    this.#show();
  }

  // -- the broadcast

  async #start() {
    if (this.isOnAir || (!this.#stream && !(await this.#open())) || this.isOnAir) return;
    try {
      const recorder = new Recorder(this.#stream, this.#told.start(), this.#choice.quality);
      recorder.addEventListener("broken", ({ detail }) => this.#end(`${say("The broadcast ended.")} ${detail.message}`));
      recorder.start();
      this.#recorder = recorder;
      this.#tell("");
    } catch (error) {
      this.#told.stop();
      this.#tell(error.message);
    }
    this.#show();
    if (this.isOnAir) this.#find("stop").focus();
  }

  #end(words) {
    if (!this.isOnAir) return;
    const hadFocus = document.activeElement === this.#find("stop");
    this.#recorder.stop();
    this.#showFigures();
    this.#recorder = null;
    this.#told.stop();
    this.#tell(words);
    this.#show();
    if (hadFocus) this.#find("start").focus();
  }

  // -- what is seen

  #show() {
    const { source, quality } = this.#choice;
    const isOpen = this.#stream !== null;
    this.#find("start").hidden = this.isOnAir;
    this.#find("stop").hidden = !this.isOnAir;
    this.#find("look").hidden = this.isOnAir;
    setText(this.#find("look"), isOpen ? say("Close the preview") : say("Show the preview"));
    this.#find("camera-field").hidden = source !== "camera";
    for (const field of this.#form.querySelectorAll("select, input")) field.disabled = this.isOnAir;
    setText(this.#find("quality-hint"), qualityWords(quality));
    const hasPicture = isOpen && this.#stream.getVideoTracks().length > 0;
    this.#words(hasPicture ? "" : isOpen ? say("Sound alone, no picture.") : say("No preview. Nobody sees you."));
    this.#showFigures();
  }

  #words(words) {
    setText(this.#find("preview-words"), words);
  }

  #showLevel() {
    const hasSound = this.#stream?.getAudioTracks().length > 0;
    const level = hasSound ? this.#meter.level : 0;
    this.#find("level").value = level;
    setText(this.#find("level-words"), !hasSound ? say("No sound") : level < QUIET ? say("Silent") : say("Heard"));
  }

  #showFigures() {
    if (!this.#recorder) return;
    const { rate: bits, dropped, seconds } = this.#recorder;
    setText(this.#find("upload"), rate(bits));
    setText(this.#find("dropped"), number(dropped));
    setText(this.#find("clock"), clock(seconds));
  }

  #tell(words) {
    setText(this.#find("message"), words);
  }

  #find(name) {
    return this.#page.querySelector(`[data-${name}]`);
  }
}

/** "0:05", "1:02:03". */
function clock(seconds) {
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, Math.floor(seconds) % 60];
  const shown = parts[0] > 0 ? parts : parts.slice(1);
  return shown.map((part, i) => String(part).padStart(i === 0 ? 1 : 2, "0")).join(":");
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
