/**
 * The list of streams, kept up to date in place: who is live, how many listen.
 *
 * What is on the page stays where it is. A stream that is new comes last; one that is listed no more is said to be so.
 */
import { poll } from "./poll.js";
import { listenerCount } from "../socket/states.js";
import { say } from "../socket/language.js";

const INTERVAL = 3000;

const list = document.querySelector("[data-streams]");
const template = document.querySelector("[data-stream-template]");
const trouble = document.querySelector("[data-trouble]");
const empty = document.querySelector("[data-empty]");

poll(list.dataset.api, INTERVAL, update, () => tellTrouble(say("The server does not answer. This list may be old.")));

function update({ streams }) {
  tellTrouble("");
  const listed = new Map(streams.map((stream) => [stream.slug, stream]));
  for (const card of list.children) {
    show(card, listed.get(card.dataset.slug));
    listed.delete(card.dataset.slug);
  }
  for (const stream of listed.values()) list.append(cardOf(stream));
  empty.hidden = list.children.length > 0;
}

function cardOf(stream) {
  const card = template.content.firstElementChild.cloneNode(true);
  card.dataset.slug = stream.slug;
  const link = card.querySelector("[data-title]");
  link.textContent = stream.title || stream.slug;
  link.href = stream.url;
  card.querySelector("[data-description]").textContent = stream.description;
  show(card, stream);
  return card;
}

function show(card, stream) {
  const badge = card.querySelector("[data-live]");
  badge.dataset.live = stream?.live ?? false;
  setText(badge, stream ? (stream.live ? say("Live") : say("Quiet")) : say("No longer listed"));
  setText(card.querySelector("[data-listeners]"), listenerCount(stream?.listeners ?? 0));
}

function tellTrouble(words) {
  setText(trouble, words);
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
