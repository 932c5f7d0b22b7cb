// The walls between the folders of static/broadcast: which may import which.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../static/broadcast/", import.meta.url));

// Pages of other sites import these: they are the only modules at the top.
const PUBLIC = [
  ...["connection", "element", "listener", "page-socket", "player", "rooms", "streamer"],
];

// Each folder, and the others that it may import from.
const BELOW = {
  words: [],
  socket: [],
  video: ["socket"],
  element: ["socket", "video"],
  page: ["socket", "video", "element"],
  studio: ["socket", "video", "element"],
  room: ["socket", "video", "element"],
  site: ["socket", "video", "element"],
};

function modules() {
  return readdirSync(ROOT, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".js"))
    .map(normalize);
}

function importsOf(name) {
  const text = readFileSync(join(ROOT, name), "utf8");
  const found = text.matchAll(/^(?:(?:import|export|\}) .*from|import) "(\.[^"]+)";$|import\("(\.[^"]+)"\)/gm);
  return [...found].map((one) => normalize(join(dirname(name), one[1] ?? one[2])));
}

function folderOf(name) {
  const folder = dirname(name);
  return folder === "." ? "" : folder;
}

describe("the scripts", () => {
  it("are in folders, but for those that are public", () => {
    const top = modules().filter((name) => !folderOf(name));
    assert.deepEqual(top.sort(), PUBLIC.map((name) => `${name}.js`).sort());
    const folders = new Set(modules().map(folderOf));
    assert.deepEqual([...folders].sort(), ["", ...Object.keys(BELOW)].sort());
  });

  it("import what is there, from their folder and those below it", () => {
    const known = new Set(modules());
    let number = 0;
    for (const name of known) {
      for (const imported of importsOf(name)) {
        number += 1;
        assert.ok(known.has(imported), `${name} imports ${imported}, which is not there`);
        const allowed = folderOf(name) ? [folderOf(name), ...BELOW[folderOf(name)]] : Object.keys(BELOW);
        assert.ok(allowed.includes(folderOf(imported)), `${name} must not import ${imported}`);
      }
    }
    assert.ok(number > 60, `${number} imports were found`);
  });

  it("do not import each other in circles", () => {
    const done = new Set();
    const visit = (name, path) => {
      assert.ok(!path.includes(name), `a circle: ${[...path, name].join(" > ")}`);
      if (!done.has(name)) importsOf(name).forEach((one) => visit(one, [...path, name]));
      done.add(name);
    };
    modules().forEach((name) => visit(name, []));
  });
});
