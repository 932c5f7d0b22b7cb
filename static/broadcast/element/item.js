/**
 * How the page itself wants a publication to look: a `<template>` in the `<broadcast-listener>`.
 *
 *     <template>
 *       <p><b data-field="headline"></b> <time data-time></time></p>
 *     </template>
 *
 * `data-field` is filled with that field of a JSON publication ("ship.name", "ships.0"), `data-text` with the whole
 * publication as text (of bytes: what they are and how many), `data-offset` and `data-time` with its offset and when it
 * came. What was published becomes text and never markup, wherever it stands. `<template data-kind="json">` is for
 * publications of that kind alone.
 *
 * An item stands among the children of the element, so that the page's style sheets reach it, and is shown through a
 * slot in the element's list.
 */

const SLOT = "publication-";
const SHOWN = 4000; // characters: so much of a text stands in one place of an item

let number = 0;

/** The item for an entry of `host`, or null when the page has no template for it. */
export function itemOf(host, { kind }) {
  const templates = [...host.children].filter((child) => child instanceof HTMLTemplateElement);
  const template =
    templates.find(({ dataset }) => dataset.kind === kind) ?? templates.find(({ dataset }) => !dataset.kind);
  return template ? new Item(host, template) : null;
}

/** Take out the items of a listener that this one was cloned from. */
export function removeItems(host) {
  for (const item of host.querySelectorAll(`:scope > [slot^="${SLOT}"]`)) item.remove();
}

class Item {
  constructor(host, template) {
    this.slot = document.createElement("slot");
    this.slot.name = SLOT + ++number;
    this.element = rootOf(document.importNode(template.content, true));
    this.element.slot = this.slot.name;
    host.append(this.element);
  }

  /** Fill it, for the first time or again. */
  fill(entry) {
    this.#each("field", (element) => fieldText(entry.data, element.dataset.field));
    this.#each("text", () => entry.text);
    this.#each("offset", () => String(entry.offset));
    this.#each("time", () => entry.timeText);
    for (const time of this.#parts("time")) time.dateTime = entry.time.toISOString();
  }

  /** Its text, in one line. */
  get words() {
    return this.element.textContent.replace(/\s+/g, " ").trim();
  }

  remove() {
    this.element.remove();
  }

  #each(name, text) {
    for (const element of this.#parts(name)) element.textContent = text(element).slice(0, SHOWN);
  }

  /** Text would be more than text in a script or a style sheet. */
  #parts(name) {
    const selector = `[data-${name}]:not(script, style)`;
    const own = this.element.matches(selector) ? [this.element] : [];
    return [...own, ...this.element.querySelectorAll(selector)];
  }
}

/** One `<li>` with what is in the template, which may be that. */
function rootOf(content) {
  const [first, ...others] = content.children;
  if (others.length === 0 && first?.localName === "li") return first;
  const root = document.createElement("li");
  root.append(content);
  return root;
}

/** The field at `path` of a JSON value as text; empty where there is none. */
export function fieldText(data, path) {
  return textOf(fieldOf(data, path));
}

/** The field at `path` of a JSON value; undefined where there is none. */
export function fieldOf(data, path) {
  let value = data;
  for (const name of path.split(".")) {
    // Properties that every object inherits are no fields.
    if (value === null || typeof value !== "object" || !Object.hasOwn(value, name)) return undefined;
    value = value[name];
  }
  return value;
}

/** A JSON value as text: what is an object or a list, as JSON; nothing as nothing. */
export function textOf(value) {
  return value !== null && typeof value === "object" ? JSON.stringify(value) : String(value ?? "");
}
