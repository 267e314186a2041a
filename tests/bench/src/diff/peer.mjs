// Text to report with a peer from npm: node peer.mjs PACKAGE LEGACY NEW RUNS
// Each file holds one JSON text per line; a run compares every line with its counterpart.
import { readFileSync } from "node:fs";

const [name, legacyFile, newFile, runs] = process.argv.slice(2);
const loaded = await import(name);
const report =
  name === "microdiff" ? loaded.default : (loaded.compare ?? loaded.default.compare);
const lines = (file) => readFileSync(file, "utf8").split("\n").filter((line) => line !== "");
const [legacy, fresh] = [lines(legacyFile), lines(newFile)];

const once = () => {
  let reported = 0;
  for (let i = 0; i < legacy.length; i++) {
    reported += report(JSON.parse(legacy[i]), JSON.parse(fresh[i])).length;
  }
  return reported;
};

let reported = 0;
for (let i = 0; i < 3; i++) reported = once();
const times = [];
for (let i = 0; i < Number(runs); i++) {
  const started = performance.now();
  reported = once();
  times.push(performance.now() - started);
}
times.sort((a, b) => a - b);
console.log(JSON.stringify({ median_ms: times[times.length >> 1], reported }));
