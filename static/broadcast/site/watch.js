/**
 * The page of one stream: beside the listener, its position and how many listen.
 */
import "../element/copy.js";
import "../element/element.js";
import { poll } from "./poll.js";
import { listenerCount } from "../socket/states.js";
import { number } from "../socket/language.js";

const INTERVAL = 5000;
const EPOCH_SHOWN = 8;

const page = document.querySelector("[data-watch]");
const element = document.querySelector("broadcast-listener");
const epoch = page.querySelector("[data-epoch]");
const offset = page.querySelector("[data-offset]");
const listeners = page.querySelector("[data-listeners]");

let drawing = false;
let newest = null; // the stream's position when last asked

const ask = poll(page.dataset.api, INTERVAL, update, undefined, page.dataset.token);
element.addEventListener("joined", showPosition);
element.addEventListener("joined", ask); // one listener more: this one
element.addEventListener("publication", showPosition);
showPosition();

/** However fast publications come, the page changes once per frame. */
function showPosition() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    const { position } = element;
    if (!position) return;
    epoch.textContent = position.epoch.slice(0, EPOCH_SHOWN);
    epoch.title = position.epoch;
    offset.textContent = number(position.offset);
  });
}

function update(stream) {
  listeners.textContent = listenerCount(stream.listeners);
  // The position of a while ago should have come by now; the newest one may still be on its way.
  if (newest) element.listener?.expect(newest);
  newest = stream.position;
}
