/**
 * Records a MediaStream and feeds it to a `Streamer`, live.
 *
 * It promises that what goes out can be started at its key frames, which come each second, and that it never piles up:
 * while more than a second of it is under way, everything is dropped up to a key frame that finds room. What is under way is what the server has not accepted: it may wait in the browser's buffer, on the line or in
 * the server. Where the server lost what it had, a new recording begins.
 *
 * Event: `broken` {message}: it ended, and why.
 */
import { cutterFor } from "../video/media.js";
import { say } from "../socket/language.js";

const TIMESLICE = 100; // milliseconds
const KEY_FRAMES = 1000; // milliseconds between two
const PILE = 1; // seconds of the recording that may be under way …
const LEAST_PILE = 128 * 1024; // … but always so many bytes: a key frame alone is large
const RATE_OVER = 2000; // milliseconds

/** Formats that browsers record, the best first: most browsers play it, and it is cut as it comes. */
const VIDEO_TYPES = [
  "video/webm;codecs=vp8,opus",
  "video/webm;codecs=vp9,opus",
  "video/mp4;codecs=avc1.42E01F,mp4a.40.2",
  "video/mp4;codecs=avc1.42E01F,opus",
];
const AUDIO_TYPES = ["audio/webm;codecs=opus", "audio/mp4;codecs=mp4a.40.2"];

/** The first type that this browser records; undefined: none. */
export function recordableType(hasVideo, MediaRecorder = globalThis.MediaRecorder) {
  return (hasVideo ? VIDEO_TYPES : AUDIO_TYPES).find((type) => MediaRecorder?.isTypeSupported(type));
}

export class Recorder extends EventTarget {
  #stream;
  #streamer;
  #quality;
  #options;
  #type;
  #recorder = null;
  #cutter = null;
  #reading = Promise.resolve(); // chunks are read one after another
  #dropping = false;
  #dropped = 0;
  #bytes = 0;
  #lately = []; // {at, bytes} that were handed over
  #startedAt = null;
  #forgetting = new AbortController();

  /**
   * `quality` is one of `QUALITIES`. `options`: `MediaRecorder` and `now()`, what the browser gives, replaceable in
   * tests. NotSupportedError: this browser records nothing that can be streamed.
   */
  constructor(stream, streamer, quality, options = {}) {
    super();
    this.#stream = stream;
    this.#streamer = streamer;
    this.#quality = quality;
    this.#options = { MediaRecorder: globalThis.MediaRecorder, now: () => performance.now(), ...options };
    this.#type = recordableType(stream.getVideoTracks().length > 0, this.#options.MediaRecorder);
    if (!this.#type) throw new DOMException(say("This browser records nothing that can be streamed."), "NotSupportedError");
  }

  /** Pieces of the recording that were dropped, since the line could not carry them. */
  get dropped() {
    return this.#dropped;
  }

  /** Bytes that were handed over. */
  get bytes() {
    return this.#bytes;
  }

  /** Seconds since it began. */
  get seconds() {
    return this.#startedAt === null ? 0 : (this.#options.now() - this.#startedAt) / 1000;
  }

  /** Bits per second that are handed over now. */
  get rate() {
    const since = this.#options.now() - RATE_OVER;
    const bytes = this.#lately.filter(({ at }) => at > since).reduce((sum, piece) => sum + piece.bytes, 0);
    return (bytes * 8 * 1000) / RATE_OVER;
  }

  start() {
    const { signal } = this.#forgetting;
    this.#startedAt = this.#options.now();
    this.#streamer.perishable = true;
    this.#streamer.addEventListener("ready", ({ detail }) => detail.newHistory && this.#begin(), { signal });
    this.#begin();
  }

  stop() {
    this.#forgetting.abort();
    this.#end();
    this.#streamer.perishable = false;
  }

  /** A new recording: nobody needs anything of the former one. */
  #begin() {
    this.#end();
    const { MediaRecorder } = this.#options;
    const recorder = new MediaRecorder(this.#stream, {
      mimeType: this.#type,
      videoBitsPerSecond: this.#quality.video,
      audioBitsPerSecond: this.#quality.audio,
      videoKeyFrameIntervalDuration: KEY_FRAMES,
    });
    this.#recorder = recorder;
    this.#cutter = cutterFor(this.#type);
    this.#dropping = false;
    this.#streamer.reset();
    recorder.ondataavailable = ({ data }) => this.#read(recorder, data);
    recorder.onerror = ({ error }) => this.#break(error?.message || say("The recording failed."));
    recorder.start(TIMESLICE);
  }

  #end() {
    const recorder = this.#recorder;
    this.#recorder = null;
    if (!recorder) return;
    recorder.ondataavailable = recorder.onerror = null;
    if (recorder.state !== "inactive") recorder.stop();
  }

  #break(message) {
    if (!this.#recorder) return;
    this.stop();
    this.dispatchEvent(new CustomEvent("broken", { detail: { message } }));
  }

  #read(recorder, blob) {
    this.#reading = this.#reading
      .then(() => blob.arrayBuffer())
      .then((buffer) => recorder === this.#recorder && this.#take(new Uint8Array(buffer)))
      .catch((error) => this.#break(error.message));
  }

  #take(bytes) {
    for (const part of this.#cutter.push(bytes)) this.#send(part);
  }

  #send({ data, header, entry }) {
    if (!header && this.#mustDrop(data, entry)) {
      this.#dropped += 1;
      return;
    }
    if (header) this.#streamer.mark("header");
    if (entry) this.#streamer.mark("entry");
    this.#streamer.sendBinary(data).catch(() => {}); // the streamer is gone, and says so
    this.#count(data.length);
  }

  /** Once something was dropped, nothing can be shown before the next key frame. */
  #mustDrop(data, entry) {
    const isFull = this.#streamer.unacceptedBytes > this.#pile || data.length > this.#streamer.frameLimit;
    this.#dropping = isFull || (this.#dropping && !entry);
    return this.#dropping;
  }

  /** Bytes that may be under way. */
  get #pile() {
    return Math.max(LEAST_PILE, ((this.#quality.video + this.#quality.audio) / 8) * PILE);
  }

  #count(bytes) {
    const at = this.#options.now();
    this.#bytes += bytes;
    this.#lately = this.#lately.filter((piece) => piece.at > at - RATE_OVER);
    this.#lately.push({ at, bytes });
  }
}
