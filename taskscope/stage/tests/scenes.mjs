// Reads {"film", "asks": [[view, t, width, by], ...]} from the standard input and writes the scenes: for the comparison with Python's.
import { readFileSync } from "node:fs";
import { Reel } from "../model.mjs";
import { scene } from "../scenes.mjs";

const { film, asks } = JSON.parse(readFileSync(0, "utf8"));
const reel = new Reel();
reel.keyframe(film);
reel.film.memo = {}; // one for all that is asked, as a view has it
process.stdout.write(JSON.stringify(asks.map(([view, t, width, by]) => scene(reel.film, view, t, width, by))));
