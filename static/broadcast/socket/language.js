/**
 * What the scripts say to a person, in the language of the page.
 *
 * A text stands in English where it is used: `say("Trying again in {seconds} s.", { seconds })`. Its translation is looked
 * up by it. So without a translation everything is English, which needs no file.
 *
 * The words of a language come from a script of their own, such as `words/de.js`, which stands on the page before the
 * others. Anybody may have one for another language: `globalThis[Symbol.for("broadcast.words")].fr = { … }`.
 *
 * One page speaks one language: that of the nearest element with `lang` around the first `<broadcast-listener>` (which may
 * have it itself), or without one of the page's `<html>`.
 */

const WORDS = Symbol.for("broadcast.words");

let tag = null; // the language, once the page was asked for it

/** The text itself: marks it for translators where it is said elsewhere. */
export function text(english) {
  return english;
}

/** `english`, or its translation, with the `values` in place of their `{names}`. */
export function say(english, values = {}) {
  return fill(translations()?.[english] ?? english, values);
}

/** The same of a number of things: "{count} listener" or "{count} listeners", as the language counts. */
export function sayCount(count, one, other, values = {}) {
  const forms = translations()?.[other] ?? { one, other };
  const form = forms[new Intl.PluralRules(translations() ? language() : "en").select(count)] ?? forms.other;
  return fill(form, { count: number(count), ...values });
}

/**
 * What the server said, which is English, as a sentence. In another language an unknown text gives way to `otherwise`,
 * which is less precise.
 */
export function sayServer(said, otherwise) {
  const words = sentence(String(said));
  const known = translations();
  return known ? (known[words] ?? say(otherwise)) : words;
}

/** A text of a program, as a person would write it. */
export function sentence(words) {
  const capital = words.charAt(0).toUpperCase() + words.slice(1);
  return /[.!?]$/.test(capital) ? capital : `${capital}.`;
}

/** "1,200", as the language writes it; `options` are those of `Intl.NumberFormat`. */
export function number(value, options) {
  return value.toLocaleString(locale("en"), options);
}

/** What `Intl` takes for the language of the words; on an English page `english`. */
export function locale(english) {
  return translations() ? language() : english;
}

function fill(words, values) {
  return words.replace(/\{(\w+)\}/g, (place, name) => (Object.hasOwn(values, name) ? values[name] : place));
}

/** The words of the language by the English ones; undefined for English, and what nobody translated. */
function translations() {
  const known = globalThis[WORDS];
  return known && (known[language()] ?? known[language().split("-")[0]]);
}

function language() {
  tag ??= languageOf(globalThis.document);
  return tag;
}

function languageOf(page) {
  const place = page?.querySelector?.("broadcast-listener") ?? page?.documentElement;
  return place?.closest?.("[lang]")?.lang.toLowerCase() || "en";
}
