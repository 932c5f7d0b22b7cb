/**
 * Attributes of an element as properties of the same names.
 *
 * `texts` are names, "" where there is no such attribute; `numbers` are names with the number that holds where the
 * attribute is none; `switches` are names of attributes that are there or not.
 */
export function reflect(prototype, { texts, numbers, switches }) {
  for (const name of texts) {
    define(prototype, name, (element) => element.getAttribute(name) ?? "", setAttribute);
  }
  for (const [name, otherwise] of Object.entries(numbers)) {
    define(prototype, name, (element) => numberOf(element.getAttribute(name), otherwise), setAttribute);
  }
  for (const name of switches) {
    const set = (element, _, on) => element.toggleAttribute(name, Boolean(on));
    define(prototype, name, (element) => element.hasAttribute(name), set);
  }
}

function define(prototype, name, get, set) {
  Object.defineProperty(prototype, name, {
    get() {
      return get(this);
    },
    set(value) {
      set(this, name, value);
    },
  });
}

function setAttribute(element, name, value) {
  element.setAttribute(name, value);
}

function numberOf(text, otherwise) {
  return /^\d+$/.test(text ?? "") ? Number(text) : otherwise;
}
