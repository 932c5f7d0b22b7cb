/** How loud a track is, for a person to see that their microphone hears them. */
const LOUD = 6; // speech is far from full scale

export class Loudness {
  #context = new AudioContext();
  #analyser = this.#context.createAnalyser();
  #samples = new Float32Array(this.#analyser.fftSize);

  constructor(track) {
    this.#context.createMediaStreamSource(new MediaStream([track])).connect(this.#analyser);
  }

  /** 0 to 1. */
  get value() {
    this.#analyser.getFloatTimeDomainData(this.#samples);
    const power = this.#samples.reduce((sum, sample) => sum + sample * sample, 0) / this.#samples.length;
    return Math.min(1, LOUD * Math.sqrt(power));
  }

  close() {
    this.#context.close();
  }
}
