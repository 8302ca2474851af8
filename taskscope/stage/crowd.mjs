// What is drawn of a crowd: the twin of crowd_scenes.py and of what it needs of crowd.py, compared with them by a test.
import STATES from "../states.json" with { type: "json" };
import { fit, order, rank } from "./model.mjs";

const CROWD_WORDS = { "queue PENDING": "waiting", "bag RECEIVED": "reserved", "slot STARTED": "running" };
const CROWD_WAY = ["FAILURE", "REVOKED", "SUCCESS", "RETRY", "STARTED", "RECEIVED", "PENDING"];
const CROWD_GAP = 22;
const comma = (number) => number.toLocaleString("en-US");
const byText = (one, two) => (one < two ? -1 : one > two ? 1 : 0);
const keyOf = (place, whose, state) => JSON.stringify([place, whose, state]);

/** How many tasks are where at a time. */
export function countsAt(crowd, t) {
  const counts = new Map();
  for (const [at, changes] of crowd?.bins ?? []) {
    if (at > t) break;
    for (const [place, whose, state, change] of changes) {
      const key = keyOf(place, whose, state);
      counts.set(key, (counts.get(key) ?? 0) + change);
    }
  }
  return counts;
}

function keysOf(crowd) {
  const keys = new Map();
  for (const [, changes] of crowd.bins) for (const [place, whose, state] of changes) keys.set(keyOf(place, whose, state), [place, whose, state]);
  return [...keys.values()].sort((one, two) => byText(one[0], two[0]) || byText(one[1], two[1]) || order(one[2]) - order(two[2]) || byText(one[2], two[2]));
}

/** Whether a view counts those tasks too that are not shown one by one. */
export const countsAll = ({ crowd, graphs }, view) =>
  Boolean(crowd) && (view === "stage" || (view === "graph" && graphs.some((graph) => graph.nodes.some((node) => "of" in node))));

export function crowdStage(board, film, t) {
  const { crowd } = film;
  const counts = countsAt(crowd, t);
  const keys = keysOf(crowd).filter((key) => key[0] !== "node");
  const widths = [0.19, 0.25, 0.29, 0.27].map((share) => Math.floor((board.width - 2 - 3 * CROWD_GAP) * share));
  const lefts = widths.map((_, place) => 1 + widths.slice(0, place).reduce((sum, w) => sum + w, 0) + CROWD_GAP * place);
  const names = (...places) => [...new Set(keys.filter((key) => places.includes(key[0])).map((key) => key[1]))].sort(byText);
  const mine = (name, ...places) => keys.filter((key) => places.includes(key[0]) && key[1] === name);
  const sections = [
    [1, names("queue").map((name) => [`queue "${name}"`, mine(name, "queue")])],
    [2, names("bag", "slot").map((name) => [name, mine(name, "bag", "slot")])],
    [3, [["", keys.filter((key) => key[0] === "end")]]],
  ];
  const lowest = sections.map(([, rows]) => rows.reduce((sum, [name, tokens]) => sum + (name ? 20 : 0) + 24 * tokens.length + 8, 32));
  const height = Math.max(150, ...lowest);
  const titles = board.width < 640 ? ["notebook", "broker", "workers", "results"] : ["your notebook", "broker", "workers", "result backend"];
  titles.forEach((title, place) => {
    board.rect(`place ${place}`, "place", lefts[place], 1, widths[place], height, 8);
    board.text(`title ${place}`, "title", lefts[place] + 10, 20, title, widths[place] - 20);
    if (place) board.path(`arrow ${place}`, "arrow", "M", lefts[place] - CROWD_GAP + 4, 17, "H", lefts[place] - 5, "m", -4, -4, "l", 4, 4, "l", -4, 4);
  });
  let sent = 0;
  for (const [key, number] of counts) if (!key.startsWith('["node"')) sent += number;
  board.text("sent", "faint", lefts[0] + 10, 38, `${comma(sent)} sent`, widths[0] - 20);
  for (const [place, rows] of sections) {
    let y = 32;
    for (const [name, tokens] of rows) {
      if (name) {
        board.text(`name ${place} ${name}`, "text", lefts[place] + 10, y + 14, name, widths[place] - 20);
        y += 20;
      }
      for (const key of tokens) {
        crowdToken(board, key, counts.get(keyOf(...key)) ?? 0, lefts[place] + 19, y + 14, widths[place] - 42);
        y += 24;
      }
      y += 8;
    }
  }
  board.height = height + 24;
  board.text("step", "faint", 2, board.height - 8, `${comma(crowd.of)} tasks: a token stands for all that are there in one state`, board.width - 4);
}

function crowdToken(board, [place, whose, state], number, x, y, width) {
  const name = `${comma(number)} ${CROWD_WORDS[`${place} ${state}`] ?? state}`;
  const id = `${place} ${whose} ${state}`;
  board.disc(`token ${id}`, x, y, 8, state, number ? "" : "ghost", { uuid: id, attempt: 0, label: fit(name, width, 12), name });
}

function ofNode(node, counts) {
  const states = [...counts].filter(([, number]) => number).map(([key, number]) => [...JSON.parse(key), number]);
  return new Map(states.filter(([place, whose]) => place === "node" && whose === node.id).map(([, , state, number]) => [state, number]));
}

/** The task as which a node is drawn that stands for many: a failure if there is one, an end when all have it. */
export function crowdTask(node, counts) {
  const mine = ofNode(node, counts);
  const bad = ["FAILURE", "REVOKED"].find((one) => mine.has(one));
  const furthest = () => [...mine.keys()].sort((one, two) => rank(two) - rank(one) || byText(one, two))[0];
  const state = bad ?? (mine.get("SUCCESS") === node.of ? "SUCCESS" : mine.has("SUCCESS") ? "STARTED" : furthest());
  const here = mine.size ? { state, since: 0, evidence: "o", place: "", cell: 0, lane: { attempt: 0 } } : null;
  return { id: node.id, label: node.label, planned: true, result: "", lanes: [], here, done: mine.get("SUCCESS") ?? 0, ...shareOf(node, mine) };
}

function shareOf(node, mine) {
  const states = [...CROWD_WAY.filter((state) => mine.has(state)), ...[...mine.keys()].filter((state) => !CROWD_WAY.includes(state)).sort(byText)];
  const left = node.of - [...mine.values()].reduce((sum, number) => sum + number, 0);
  const found = [...states.map((state) => [state, mine.get(state)]), ...(left ? [["not sent yet", left]] : [])];
  return {
    told: found.map(([state, number]) => `${comma(number)} ${state}`).join(" · "),
    short: found.map(([state, number]) => `${comma(number)} ${state === "not sent yet" ? "left" : (STATES[state]?.glyph ?? state)}`).join("  "),
  };
}
