/**
 * How loud a stream is: from 0 to 1, where speech is about the middle. It rises at once and falls slowly, as the eye can
 * follow.
 */
const QUIETEST = -60; // decibels that are 0
const SAMPLES = 8192; // some tenths of a second: nothing between two looks is missed
const FALL = 0.9; // of the last level, at each look

export class Meter {
  #context = null;
  #analyser = null;
  #samples = new Float32Array(SAMPLES);
  #level = 0;

  /** Listen to the sound of `stream`; to nothing, where it has none. */
  open(stream) {
    this.close();
    if (stream.getAudioTracks().length === 0) return;
    this.#context = new AudioContext();
    this.#analyser = this.#context.createAnalyser();
    this.#analyser.fftSize = SAMPLES;
    this.#context.createMediaStreamSource(stream).connect(this.#analyser);
  }

  close() {
    this.#context?.close();
    this.#context = this.#analyser = null;
    this.#level = 0;
  }

  get level() {
    if (!this.#analyser) return 0;
    this.#analyser.getFloatTimeDomainData(this.#samples);
    this.#level = Math.max(loudness(this.#samples), this.#level * FALL);
    return this.#level;
  }
}

/** The loudest of some samples on a scale of decibels, as the ear hears. */
export function loudness(samples) {
  const peak = samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
  const decibels = 20 * Math.log10(peak);
  return Math.min(1, Math.max(0, 1 - decibels / QUIETEST));
}
