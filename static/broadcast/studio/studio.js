/**
 * The studio: a person feeds a stream with text, JSON, files and live video, and sees what became of it.
 *
 * A stream of messages is fed as long as the studio is open; a media stream only while video is broadcast.
 */
import { MessageStudio } from "./messages.js";
import { listenerCount, streamerWords } from "../socket/states.js";
import { Streamer } from "../socket/streamer.js";
import { VideoStudio } from "./video.js";
import { number, say, sayServer, text } from "../socket/language.js";

const EPOCH_SHOWN = 8;
const RESENT = text("The server began a new history. What it had not accepted is sent again.");
const BEGUN_ANEW = text("The server began a new history, and you a new recording.");

const page = document.querySelector("[data-studio]");
const find = (name) => page.querySelector(`[data-${name}]`);
const isMedia = page.dataset.kind === "media";

// -- the state

let streamer = newStreamer();
let countdown = null;

function newStreamer() {
  const { src, token, frameLimit } = page.dataset;
  const made = new Streamer(src, { token, frameLimit: Number(frameLimit) });
  const follow = (name, show) => made.addEventListener(name, ({ detail }) => made === streamer && show(detail));
  follow("state", became);
  follow("ready", showFigures);
  follow("ready", ({ newHistory }) => newHistory && tell(say(made.perishable ? BEGUN_ANEW : RESENT)));
  follow("accepted", showFigures);
  follow("listeners", showFigures);
  follow("error", ({ message }) => tell(sayServer(message, "The server did not take what was sent.")));
  return made;
}

function became(state) {
  clearInterval(countdown);
  showState(state);
  if (state.at) countdown = setInterval(() => showState(state), 250);
  page.dataset.state = state.name;
  find("retry").hidden = state.name !== "reconnecting" || state.at === null;
  find("again").hidden = state.name !== "gone";
  if (state.name === "gone") video.ended(state.reason);
  for (const button of page.querySelectorAll("[data-sends]")) button.disabled = state.name === "gone";
  showFigures();
}

function showState(state) {
  const { label, detail } = streamerWords(state);
  setText(find("state"), label);
  setText(find("detail"), detail);
}

function showFigures() {
  const { position, listeners, accepted, count: all } = streamer;
  setText(find("listeners"), listenerCount(listeners));
  setText(find("accepted"), say("{accepted} of {all}", { accepted: number(accepted), all: number(all) }));
  if (position) {
    setText(find("epoch"), position.epoch.slice(0, EPOCH_SHOWN));
    find("epoch").title = position.epoch;
    setText(find("offset"), number(position.offset));
  }
  messages?.showFates();
}

function tell(words) {
  setText(find("message"), words);
}

// -- what is sent

const messages = isMedia ? null : new MessageStudio(page, streamer, { tell, figures: showFigures });

const video = new VideoStudio(page, {
  /** The streamer that a broadcast goes through. */
  start() {
    if (messages) {
      messages.disabled = true;
    } else {
      const former = streamer;
      streamer = newStreamer();
      former.close();
      streamer.open();
    }
    return streamer;
  },
  stop() {
    if (messages) messages.disabled = false;
    else leave(streamer);
  },
});

/** Off air, when what was handed over is in the stream, or cannot be any more. */
async function leave(left) {
  if (left.state.name === "gone") return;
  const changes = new Promise((resolve) => left.addEventListener("state", resolve, { once: true }));
  if (left.state.name === "live") await Promise.race([left.settled().catch(() => {}), changes]);
  left.close();
  if (left === streamer) became({ name: "off" });
}

// -- leaving

addEventListener("beforeunload", (event) => {
  if (video.isOnAir) event.preventDefault();
  if (streamer.accepted < streamer.count && !["gone", "closed"].includes(streamer.state.name)) event.preventDefault();
});

find("retry").addEventListener("click", () => streamer.retry());
find("again").addEventListener("click", () => location.reload());

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

if (isMedia) {
  became({ name: "off" });
} else {
  became(streamer.state);
  streamer.open();
}
