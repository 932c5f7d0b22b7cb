/**
 * How loud a stream is: from 0 to 1, where speech is about the middle.
 */
const QUIETEST = -60; // decibels that are 0

export class Meter {
  #context = null;
  #analyser = null;
  #samples = null;

  /** Listen to the sound of `stream`; to nothing, where it has none. */
  open(stream) {
    this.close();
    if (stream.getAudioTracks().length === 0) return;
    this.#context = new AudioContext();
    this.#analyser = this.#context.createAnalyser();
    this.#analyser.fftSize = 1024;
    this.#samples = new Float32Array(this.#analyser.fftSize);
    this.#context.createMediaStreamSource(stream).connect(this.#analyser);
  }

  close() {
    this.#context?.close();
    this.#context = this.#analyser = null;
  }

  get level() {
    if (!this.#analyser) return 0;
    this.#analyser.getFloatTimeDomainData(this.#samples);
    return loudness(this.#samples);
  }
}

/** The loudest of some samples on a scale of decibels, as the ear hears. */
export function loudness(samples) {
  const peak = samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
  const decibels = 20 * Math.log10(peak);
  return Math.min(1, Math.max(0, 1 - decibels / QUIETEST));
}
