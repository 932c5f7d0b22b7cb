// What the scripts say on pages in German, in a language that nobody translated, and in English.

import assert from "node:assert/strict";
import { before, describe, it } from "node:test";

const LANGUAGE = new URL("../../../static/broadcast/socket/language.js", import.meta.url);
let pages = 0;

/** A page whose `<html>` says that it is in `lang`; `listener`: what is nearest to its first listener. */
async function languageOf(lang, listener = null) {
  const element = (lang) => ({ closest: () => (lang ? { lang } : null) });
  globalThis.document = { documentElement: element(lang), querySelector: () => listener && element(listener) };
  // A page of its own has modules of its own.
  return import(`${LANGUAGE}?${++pages}`);
}

describe("the language of a page", () => {
  before(() => import("../../../static/broadcast/words/de.js"));

  it("is that of its root", async () => {
    const { say } = await languageOf("de");
    assert.equal(say("Connecting"), "Verbindet");
  });

  it("is that of its first listener, if that is in another one", async () => {
    const { say } = await languageOf("en", "de");
    assert.equal(say("Connecting"), "Verbindet");
  });

  it("may be that of a country", async () => {
    const { say, number } = await languageOf("de-CH");
    assert.equal(say("Connecting"), "Verbindet");
    assert.equal(number(1.5), "1.5"); // where Germany has a comma
  });

  it("is English where nobody translated it, or where none is said", async () => {
    for (const lang of ["fr", "en-gb", "", null]) {
      const { say, sayCount, sayServer, number } = await languageOf(lang);
      assert.equal(say("Connecting"), "Connecting");
      assert.equal(sayCount(1, "{count} listener", "{count} listeners"), "1 listener");
      assert.equal(sayCount(1200, "{count} listener", "{count} listeners"), "1,200 listeners");
      assert.equal(sayServer("too many: 5", "The connection was lost."), "Too many: 5.");
      assert.equal(number(1.5), "1.5");
    }
  });
});

describe("on a page in German", () => {
  let german;
  before(async () => (german = await languageOf("de")));

  it("numbers are written and counted as Germans do", () => {
    const count = (number) => german.sayCount(number, "{count} publication", "{count} publications");
    assert.deepEqual([0, 1, 1200].map(count), ["0 Beiträge", "1 Beitrag", "1.200 Beiträge"]);
    assert.equal(german.number(1.5), "1,5");
    assert.equal(german.locale("en-GB"), "de");
  });

  it("values stand where the translation has them, as they are", () => {
    assert.equal(german.say("{name} writes: {text}", { name: "{text}", text: "a {name} b" }), "{text} schreibt: a {name} b");
  });

  it("a text that nobody translated is English", () => {
    assert.equal(german.say("Nobody translated this."), "Nobody translated this.");
  });

  it("the server's words are translated where they are known, and else said in general", () => {
    const said = (words) => german.sayServer(words, "The connection was lost.");
    assert.equal(said("the token ran out"), "Das Token ist abgelaufen.");
    assert.equal(said("5 are more than 4"), "Die Verbindung ging verloren.");
  });
});
