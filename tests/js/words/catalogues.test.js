// The words of the scripts in other languages: all are there, and none is of a text that nobody says.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";

import { STATIC, texts } from "../sources.js";

const SERVER = join(STATIC, "../../broadcast");
const said = texts();
const python = readdirSync(SERVER, { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".py"))
  .map((name) => readFileSync(join(SERVER, name), "utf8"))
  .join("\n");

/** Whether the server has the text, as it says it: without a capital and a full stop. */
function isOfServer(english) {
  return python.includes(`"${english.charAt(0).toLowerCase()}${english.slice(1, -1)}"`);
}

function placesOf(words) {
  return [...words.matchAll(/\{\w+\}/g)].map(String).sort();
}

for (const file of readdirSync(join(STATIC, "words"))) {
  const { default: words } = await import(join(STATIC, "words", file));
  const language = file.replace(".js", "");
  const entries = Object.entries(words);

  describe(`the words of ${language}`, () => {
    it("are all there", () => {
      assert.ok(said.size > 200, `${said.size} texts were found in the scripts`);
      assert.deepEqual([...said].filter((english) => !(english in words)), []);
    });

    it("are of texts that scripts or the server say", () => {
      const others = entries.map(([english]) => english).filter((english) => !said.has(english));
      assert.deepEqual(others.filter((english) => !isOfServer(english)), []);
    });

    it("have the places of the English ones", () => {
      for (const [english, forms] of entries) {
        for (const form of typeof forms === "string" ? [forms] : Object.values(forms)) {
          assert.ok(form.trim(), `${english} is empty`);
          assert.deepEqual(placesOf(form), placesOf(english), english);
        }
      }
    });

    it("count as the language counts", () => {
      const { pluralCategories } = new Intl.PluralRules(language).resolvedOptions();
      for (const [english, forms] of entries) {
        if (typeof forms === "string") assert.ok(!english.startsWith("{count}"), `${english} counts`);
        else assert.deepEqual(Object.keys(forms).sort(), [...pluralCategories].sort(), english);
      }
    });

    it("are registered for the pages that have them", () => {
      assert.equal(globalThis[Symbol.for("broadcast.words")][language], words);
    });
  });
}
