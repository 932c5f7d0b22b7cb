/** The texts that the scripts say, as they stand in them. */

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const STATIC = fileURLToPath(new URL("../../static/broadcast/", import.meta.url));

/** The English texts that want a translation; of those that count things, the form for many. */
export function texts() {
  const found = new Set();
  for (const name of readdirSync(STATIC, { recursive: true, encoding: "utf8" })) {
    if (!name.endsWith(".js") || name.startsWith("words")) continue;
    for (const one of textsOf(readFileSync(join(STATIC, name), "utf8"))) found.add(one);
  }
  return found;
}

function textsOf(source) {
  const code = source.replace(/^ *(\*|\/\/|\/\*).*$/gm, "");
  const calls = [
    /(?<![\w.#])(?:say|text)\(\s*"((?:[^"\\]|\\.)+)"/g,
    /(?<![\w.#])sayServer\([^"]*?, "((?:[^"\\]|\\.)+)"/g,
    /(?<![\w.#])sayCount\([^"]*?"(?:[^"\\]|\\.)+",\s*"((?:[^"\\]|\\.)+)"/g,
  ];
  return calls.flatMap((call) => [...code.matchAll(call)].map(([, literal]) => JSON.parse(`"${literal}"`)));
}
