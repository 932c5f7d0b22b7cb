/**
 * Elements that show what comes on a channel.
 *
 *     <b data-channel="score"></b>
 *     <b data-channel="vote" data-field="tea.votes">3</b> <progress data-channel="vote" data-field="tea.share" max="100">
 *     <ul data-channel="log" data-mode="append" data-max="20" aria-live="polite">
 *       <template><li><b data-field="who"></b> <span data-text></span></li></template>
 *     </ul>
 *
 * An element shows the newest message, or with `data-field` ("a.b", "ships.0") that value of each message that has it;
 * of a `<progress>` or a `<meter>` it becomes the value. With `data-mode="append"` each message becomes a child: what is
 * in the element's `<template>`, with `data-field` and `data-text` filled in, else a plain one, in a list an `<li>`. Of
 * all children the last `data-max` (200) stay. What comes is text, never markup. Elements that are added to the page
 * later show what comes from then on. Where messages were missed, `data-missed="reload"` on an element of that channel
 * loads the page again. Whether a change is announced to those who do not see it is up to the page, by
 * `aria-live` or `role`.
 */
import { fieldOf, textOf } from "../element/item.js";

const MAX = 200;
const LISTS = "ul, ol, menu";
const NOT_TEXT = ":not(script, style)"; // text would be more than text there

/** Show a message in all elements of `root` that are for its channel. */
export function showMessage(root, channel, payload) {
  for (const element of elementsOf(root, channel)) {
    if (element.dataset.mode === "append") append(element, payload);
    else replace(element, payload);
  }
}

/** Messages on the channel were missed. */
export function showMissed(root, channel) {
  if (elementsOf(root, channel).some(({ dataset }) => dataset.missed === "reload")) location.reload();
}

function elementsOf(root, channel) {
  return [...root.querySelectorAll(`[data-channel]${NOT_TEXT}`)].filter(({ dataset }) => dataset.channel === channel);
}

/** A message that has not the field an element is for leaves it as it is. */
function replace(element, payload) {
  const { field } = element.dataset;
  const value = field === undefined ? payload : fieldOf(payload, field);
  if (value === undefined) return;
  if (element.matches("progress, meter")) element.value = Number(value) || 0;
  else setText(element, textOf(value));
}

function append(element, payload) {
  element.append(childOf(element, payload));
  const children = element.querySelectorAll(":scope > :not(template)");
  const most = /^\d+$/.test(element.dataset.max ?? "") ? Number(element.dataset.max) : MAX;
  for (const child of [...children].slice(0, Math.max(0, children.length - most))) child.remove();
}

/** One child, whatever is in the template. */
function childOf(element, payload) {
  const template = element.querySelector(":scope > template");
  const content = template ? fill(document.importNode(template.content, true), payload) : textOf(payload);
  if (template && content.children.length === 1) return content.firstElementChild;
  const child = document.createElement(element.matches(LISTS) ? "li" : "div");
  child.append(content);
  return child;
}

function fill(content, payload) {
  for (const part of content.querySelectorAll(`[data-field]${NOT_TEXT}`)) {
    part.textContent = textOf(fieldOf(payload, part.dataset.field));
  }
  for (const part of content.querySelectorAll(`[data-text]${NOT_TEXT}`)) part.textContent = textOf(payload);
  return content;
}

/** Set only what changed: a screen reader announces a text again that is set again. */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
