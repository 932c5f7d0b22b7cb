/**
 * Where a live picture should stand: near the newest that came, not so near that it stops at every hiccup.
 *
 * Pure: times are seconds and given, media times those of the recording. It is told what came and when, and says
 * where to play, how fast, and whether the line is so far behind that it is better to begin again at the newest.
 *
 * The recording runs at the speed of the clock. So of everything that came, what was the least late says how the two
 * clocks stand to each other (`#base`); whatever is later than that waited somewhere on its way, be it in a buffer of
 * the network that nobody can look into.
 */
const NEAREST = 0.25; // seconds behind the newest that is aimed at, at least
const FURTHEST = 2;
const FAR = 1; // behind the aim: jump
const LATER = 0.4; // behind the aim: hurry more
const NEAR = 0.15; // behind the aim: as good as there
const LATE = 4; // seconds what comes may be late
const LATE_FOR = 1; // … and for so long: what was missed in an outage comes late, but all at once
const STALL = 0.15; // added to the aim where it was too near
const STALLS = 1; // at most
// Taken off again per second. A browser that stopped once wants more before it goes on, each time: of 0.03 it stopped
// twice to five times more in the next 40 seconds, of this not again.
const CALM = 0.005;
const FAST = 1.07; // hardly heard
const FASTER = 1.2;
const GAP = 0.05; // seconds of nothing that a range may begin behind a place that counts as in it
const NEWEST = 0.5; // seconds there must be of a newer range before what is left of an older one is passed over
const AHEAD = 0.5; // seconds behind the end of the newest range where a picture stands that waits for more

export class LiveEdge {
  #base = Infinity; // the least difference of clock and media time
  #at = null; // when something came last
  #newest = null; // media time of what came last
  #interval = 0; // between two arrivals, of late
  #extra = 0;
  #lateSince = null;
  #rate = 1;

  /** Another recording, or another way that it comes: what was learnt of the old one means nothing. */
  restart() {
    this.#base = Infinity;
    this.#at = this.#newest = this.#lateSince = null;
  }

  /** The recording is here up to this media time. */
  arrived(newest, now) {
    if (this.#newest !== null && newest <= this.#newest) return;
    if (this.#at !== null) this.#learn(now - this.#at);
    this.#at = now;
    this.#newest = newest;
    this.#base = Math.min(this.#base, now - newest);
    const isLate = now - newest - this.#base > LATE;
    this.#lateSince = isLate ? (this.#lateSince ?? now) : null;
  }

  /** It played to the end of what there is. */
  stalled() {
    this.#extra = Math.min(STALLS, this.#extra + STALL);
  }

  /** Seconds behind the newest that are aimed at: what comes in larger pieces needs a larger store. */
  get aim() {
    return Math.min(FURTHEST, Math.max(NEAREST, 1.25 * this.#interval + 0.1) + this.#extra);
  }

  /** How many seconds the picture at `place` is behind; null: not known yet. */
  behind(place, now) {
    return this.#base === Infinity ? null : Math.max(0, now - this.#base - place);
  }

  /** Whether what comes is so late, for so long, that it will not catch up. */
  isLate(now) {
    return this.#lateSince !== null && now - this.#lateSince >= LATE_FOR;
  }

  /**
   * `{seek, rate}`: where to go on playing (null: where it stands), and how fast. `ranges` are `[start, end]` of what
   * there is, in order; `place` is what is shown now. Nothing is begun with less than what is aimed at: a browser that
   * runs dry while it begins takes seconds to begin.
   */
  steer(ranges, place) {
    if (ranges.length === 0) return this.#stay();
    const [start, end] = ranges.at(-1);
    const goal = end - this.aim;
    const isIn = place >= start - GAP && place <= end + AHEAD;
    if (isIn && goal - place <= FAR) return { seek: null, rate: this.#rateFor(goal - place) };
    if (goal < start || (!isIn && hasLeft(ranges, place) && end - start < NEWEST)) return this.#stay();
    this.#rate = 1;
    return { seek: goal, rate: 1 };
  }

  #stay() {
    return { seek: null, rate: 1 };
  }

  /** Once faster, it stays so until it is there: a speed that wavers is heard. */
  #rateFor(late) {
    if (late > LATER) this.#rate = FASTER;
    else if (late > NEAR) this.#rate = Math.max(this.#rate, FAST);
    else if (late <= 0) this.#rate = 1;
    return this.#rate;
  }

  #learn(gap) {
    this.#interval = Math.min(FURTHEST, Math.max(gap, this.#interval * 0.95));
    this.#extra = Math.max(0, this.#extra - CALM * gap);
  }
}

/** Whether an older range has something left to be played behind `place`. */
function hasLeft(ranges, place) {
  return ranges.some(([start, end]) => place >= start - GAP && end - place > GAP);
}
