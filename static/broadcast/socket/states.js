/**
 * The states of a connection in a person's words: `{label, detail}`, a word or two and a sentence.
 *
 * Used wherever a state is shown, so that the same thing is called the same everywhere.
 */
import { number, say, sayCount, text } from "./language.js";

const LISTENER = {
  connecting: [text("Connecting"), text("One moment.")],
  live: [text("Live"), text("Everything appears here as it is sent.")],
  // Programs publish without a streamer: nothing may be missing.
  idle: [text("Connected"), text("What is published appears here at once.")],
  closed: [text("Closed"), text("This listener was closed.")],
};

const PICTURE = {
  ...LISTENER,
  live: [text("Live"), text("You see and hear it as it happens.")],
  idle: [text("Waiting for the streamer"), text("It begins here by itself.")],
  resting: [text("Paused"), text("Nothing is loaded meanwhile. It goes on live.")],
};

const STREAMER = {
  connecting: [text("Connecting"), text("One moment.")],
  live: [text("On air"), text("What you send goes out at once.")],
  closed: [text("Closed"), text("This studio was closed.")],
  off: [text("Off air"), text("Nobody sees or hears you yet.")],
};

export function listenerWords(state, now = Date.now()) {
  return words(LISTENER, state, now, say("What is missed meanwhile follows."));
}

/** The same, of a listener that shows video. */
export function pictureWords(state, now = Date.now()) {
  return words(PICTURE, state, now, say("It goes on live."));
}

export function streamerWords(state, now = Date.now()) {
  return words(STREAMER, state, now, say("What you send meanwhile follows."));
}

/** "1 listener", "2 listeners", "1,200 listeners". */
export function listenerCount(count) {
  return sayCount(count, "{count} listener", "{count} listeners");
}

/** "512 bytes", "64 KiB", "1.5 MiB". */
export function bytes(count) {
  if (count < 1024) return sayCount(count, "{count} byte", "{count} bytes");
  const units = ["KiB", "MiB", "GiB", "TiB"];
  const power = Math.min(Math.floor(Math.log2(count) / 10), units.length);
  return `${number(Number((count / 1024 ** power).toFixed(1)))} ${units[power - 1]}`;
}

/** The news in a join for a listener that was here before, and whether it is good or bad. */
export function joinedWords({ outcome, missed }) {
  if (outcome === "recovered") return [say("Connected again. Nothing was lost."), "good"];
  if (outcome === "new-history") {
    return [say("Connected again. A new history began: what was sent in between cannot be known."), "bad"];
  }
  if (outcome === "missed") {
    return [say("Connected again. Some publications were missed: {range}.", { range: range(missed) }), "bad"];
  }
  return ["", ""];
}

/** A text on the publications that did not come. */
export function skippedWords(skipped) {
  const count = skipped.to - skipped.from + 1;
  const values = { range: range(skipped) };
  return sayCount(count, "{count} publication skipped: {range}.", "{count} publications skipped: {range}.", values);
}

function range({ from, to }) {
  return from === to ? `#${from}` : say("#{from} to #{to}", { from, to });
}

/** When the next attempt is, of a state that has one. */
export function againWords({ at }, now) {
  const seconds = at === null ? 0 : Math.max(0, Math.ceil((at - now) / 1000));
  return seconds > 0 ? say("Trying again in {seconds}\u00a0s.", { seconds }) : say("Trying again now.");
}

function words(known, state, now, promise) {
  if (state.name === "behind") return { label: say("Catching up"), detail: missingWords(state.missing) };
  if (state.name === "gone") return { label: say("Disconnected"), detail: state.reason };
  if (state.name === "reconnecting") {
    return { label: say("Reconnecting"), detail: `${state.reason} ${againWords(state, now)} ${promise}` };
  }
  const [label, detail] = known[state.name];
  return { label: say(label), detail: say(detail) };
}

function missingWords(count) {
  return sayCount(count, "{count} publication is still under way.", "{count} publications are still under way.");
}
