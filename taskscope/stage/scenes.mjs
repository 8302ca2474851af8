// The six pictures as plain lists of shapes, at one moment and one width: the twin of scenes.py, compared with it by a test.
import { countsAll, countsAt, crowdStage, crowdTask } from "./crowd.mjs";
import { axis, disagree, duration, extent, fit, horizon, isEnd, isKnown, lookOf, moment, rank, runningFor, tick, wasSent, wordsOf } from "./model.mjs";

const PAD = 12;
const { floor, min, max, abs, ceil } = Math;
const round = (value) => floor(value * 10 + 0.5) / 10;
const unique = (values) => [...new Set(values)];
const most = (cells) => cells.reduce((top, cell) => max(top, cell + 1), 0);

export function scene(film, view, t, width, by = "attempt") {
  const board = new Board(width);
  SCENES[view](board, film, film.tasks, t, by);
  const left = film.shown < film.of && !countsAll(film, view) ? `showing ${film.shown} of ${film.of} tasks` : "";
  for (const text of [left, ...film.notes])
    if (text) {
      board.height += 18;
      board.text(`note ${text}`, "faint", PAD, board.height - 6, text, width - 2 * PAD);
    }
  return { view, width, height: round(board.height), items: board.items };
}

class Board {
  constructor(width) {
    this.width = width;
    this.height = 0;
    this.items = [];
  }

  rect(key, cls, x, y, w, h, r = 0) {
    this.items.push({ tag: "rect", key, cls, x: round(x), y: round(y), w: round(max(w, 0)), h: round(h), r });
  }

  path(key, cls, ...points) {
    this.items.push({ tag: "path", key, cls, d: points.map((p) => (typeof p === "string" ? p : String(round(p)))).join(" ") });
  }

  text(key, cls, x, y, text, width = 0, anchor = "start") {
    const size = ["faint", "code", "bright"].includes(cls) ? 11 : 12;
    const broad = cls === "title" || cls === "alarm" || cls === "code" ? 1.12 : 1;
    this.items.push({ tag: "text", key, cls, x: round(x), y: round(y), text: width ? fit(text, width / broad, size) : text, anchor });
  }

  disc(key, x, y, r, state, cls = "", more = {}) {
    this.items.push({ tag: "disc", key, cls, x: round(x), y: round(y), r, state, ...more });
  }
}

const kindOf = (here, double) => ((here ? (here.evidence === "i" ? "inferred" : "") : "ghost") + (double ? " double" : "")).trim();

function token(board, task, here, x, y, r, t, label = 0, text = "") {
  board.disc(`token ${task.id}`, x, y, r, here ? here.state : "PENDING", kindOf(here, !task.planned), {
    uuid: task.id, attempt: here ? here.lane.attempt : 0, label: label ? fit(text || task.label, label - r - 6, 12) : "", name: spoken(task, here, t),
  });
}

export function spoken(task, here, t) {
  if (!here) return `${task.label}, not sent yet`;
  const parts = [task.label, ...(wasSent(task, t) ? [`attempt ${here.lane.attempt + 1}`] : []), here.state];
  if (here.place === "slot") {
    if (here.state !== "RETRY") parts.push(runningFor(t - here.since));
    parts.push(here.lane.slot ? `slot ${here.lane.slot}` : "slot unknown");
  }
  if (isEnd(here.state) && task.result) parts.push(task.result);
  if (here.evidence === "i") parts.push("inferred");
  return parts.join(", ");
}

// ------------------------------------------------------------------------------------------------------------- stage

class Cells {
  constructor(x, y, width, needed, many) {
    Object.assign(this, { x, y, width, few: many <= 8, more: 0, here: 0 });
    this.pitch = this.few ? 22 : many <= 40 ? 20 : many <= 200 ? 14 : 9;
    this.columns = this.few ? 1 : max(1, floor(width / this.pitch));
    const rows = this.few ? 8 : floor((many <= 200 ? 182 : 270) / this.pitch);
    this.rows = min(rows, max(1, ceil(needed / this.columns)));
    this.height = this.rows * this.pitch;
  }

  put(board, task, here, cell, t, text = "") {
    this.here += 1;
    const row = floor(cell / this.columns);
    if (row >= this.rows) {
      this.more += 1;
      return;
    }
    const x = this.x + ((cell % this.columns) + 0.5) * this.pitch;
    const y = this.y + (row + 0.5) * this.pitch;
    if (this.few) token(board, task, here, this.x + 9, y, 8, t, this.width - 9, text);
    else token(board, task, here, x, y, this.pitch === 20 ? 8 : this.pitch === 14 ? 5.5 : 3.5, t);
  }
}

/** Where everything of the stage stands, which time does not change. */
function setOfStage(film, tasks, width) {
  const gap = 22;
  const widths = [0.21, 0.21, 0.32, 0.26].map((share) => floor((width - 2 - 3 * gap) * share));
  const lefts = widths.map((_, place) => 1 + widths.slice(0, place).reduce((sum, w) => sum + w, 0) + gap * place);
  const planned = new Set(film.graphs.flatMap((graph) => graph.nodes.filter((node) => node.kind !== "unplanned").map((node) => node.id)));
  const ghosts = new Map();
  for (const task of tasks) if (planned.has(task.id)) ghosts.set(task.id, ghosts.size);
  const lanes = tasks.flatMap((task) => task.lanes);
  const orNone = (names) => (names.length ? names : [""]);
  const waiting = tasks.filter(waits);
  const queues = orNone(unique(waiting.map((task) => task.queue)));
  const busy = lanes.filter((lane) => lane.cells[1] >= 0 || lane.slot).map((lane) => lane.host);
  const hosts = orNone(unique([...film.workers.map((worker) => worker.host), ...busy]));
  const cells = (place, top, needed) => new Cells(lefts[place] + 10, top, widths[place] - 20, needed, tasks.length);

  const areas = new Map();
  const add = (place, name, area) => areas.set(`${place} ${name}`, Object.assign(area, { place, name })).get(`${place} ${name}`);
  add("notebook", "", cells(0, 64, ghosts.size));
  let y = 30;
  for (const queue of queues) {
    const mine = tasks.filter((task) => task.queue === queue).flatMap((task) => task.lanes.map((lane) => lane.cells[0]));
    y += 34 + add("queue", queue, cells(1, y + 34, most(mine))).height + 14;
  }
  const bottom = y + 6;
  add("end", "", cells(3, 46, most(lanes.map((lane) => lane.cells[2]))));
  const slots = new Map();
  y = 0;
  for (const host of hosts) {
    const mine = lanes.filter((lane) => lane.host === host);
    y += 46 + add("bag", host, cells(2, y + 46, most(mine.map((lane) => lane.cells[1])))).height + 16;
    const seen = mine.filter((lane) => lane.marks.some((mark) => rank(mark[0]) === 2)).map((lane) => lane.slot ?? 0);
    const last = max(film.workers.find((worker) => worker.host === host)?.slots ?? 0, ...seen);
    for (let slot = seen.includes(0) ? 0 : 1; slot <= last; slot += 1) {
      slots.set(`${host} ${slot}`, { host, slot, x: lefts[2] + 8, y });
      y += 26;
    }
    y += 6;
  }
  const ends = [areas.get("notebook "), areas.get("end ")].map((area) => area.y + area.height + 16);
  return { width, gap, widths, lefts, ghosts, hosts, areas, slots, waiting: waiting.length > 0, height: max(150, bottom, y + 14, ...ends), ...stepsInOrder(tasks) };
}

function stage(board, film, tasks, t) {
  if (film.crowd) {
    crowdStage(board, film, t);
    return;
  }
  // A view keeps it in the film's `memo` as long as the film is the same.
  const set = film.memo?.stage?.width === board.width ? film.memo.stage : setOfStage(film, tasks, board.width);
  if (film.memo) film.memo.stage = set;
  const { gap, widths, lefts, ghosts, areas, slots, height } = set;
  for (const area of areas.values()) [area.more, area.here] = [0, 0];
  const narrow = board.width < 640;
  const store = narrow ? "results" : film.keeps ? "result backend" : "no result backend";
  [narrow ? "notebook" : "your notebook", "broker", "", store].forEach((title, place) => {
    if (title) {
      board.rect(`place ${place}`, "place", lefts[place], 1, widths[place], height, 8);
      board.text(`title ${place}`, "title", lefts[place] + 10, 20, title, widths[place] - 20);
    }
    if (place) board.path(`arrow ${place}`, "arrow", "M", lefts[place] - gap + 4, 17, "H", lefts[place] - 5, "m", -4, -4, "l", 4, 4, "l", -4, 4);
  });
  board.height = height + 2;

  const counts = sections(board, film, set, t);
  const running = tokens(board, film, tasks, areas, slots, ghosts, widths[2], t);
  const words = { queue: "waiting", bag: "reserved", end: "ended", notebook: "not sent yet" };
  for (const [key, area] of areas) {
    if (area.more) board.text(`more ${key}`, "faint", area.x + area.width, area.y + area.height + 11, `+ ${area.more} more`, area.width, "end");
    if (area.place !== "notebook" || ghosts.size) {
      const top = area.place === "end" ? 38 : area.place === "notebook" ? 58 : counts.get(key);
      const told = area.place === "queue" && t >= film.now ? film.queues[key.slice("queue ".length)] : null;
      const count = told && told.waiting < area.here ? `${told.waiting} waiting, others gone` : `${area.here} ${words[area.place]}`;
      board.text(`count ${key}`, "faint", area.x, top, count, area.width);
    }
  }
  board.text("sent", "faint", lefts[0] + 10, 38, `${until(set.sent, t)} sent`, widths[0] - 20);
  // How many of those that run the broker still has is known of the moment of the look, and not before.
  const kept = running && t >= film.now ? Object.values(film.queues).flatMap((told) => told.kept ?? []) : [];
  if (kept.length) {
    const copies = kept.reduce((sum, number) => sum + number, 0);
    const text = copies ? `the broker keeps a copy of ${copies}` : "the broker has no copy of what runs";
    board.text("kept", "faint", lefts[2] + 10, height - 6, text, widths[2] - 20);
  }
  board.height += 22;
  board.text("step", "code", 2, board.height - 8, lastStep(film, set, t), board.width - 4);
}

function sections(board, film, { areas, slots, hosts, lefts, widths, height, waiting }, t) {
  const counts = new Map();
  for (const [key, area] of areas) {
    const { place, name } = area;
    if (place === "queue") {
      const title = name ? `queue "${name}"` : waiting ? "queue not known" : "queue";
      board.text(`queue ${name}`, "text", area.x, area.y - 20, title, area.width);
      const told = film.queues[name];
      if (told?.unacked && t >= film.now) board.text(`unacked ${name}`, "faint", area.x, height - 6, `${told.unacked} unacked`, area.width);
    }
    if (place === "bag") {
      const next = areas.get(`bag ${hosts[hosts.indexOf(name) + 1]}`);
      const end = next ? next.y - 46 : height;
      const alive = film.workers.find((worker) => worker.host === name)?.alive ?? true;
      board.rect(`worker ${name}`, "place", lefts[2], area.y - 45, widths[2], end - area.y + 45 - (end < height ? 6 : 0), 8);
      const gone = !alive && t >= film.now; // when it went is not known, only that it is not there now
      const title = gone ? `${name || "worker"} (gone)` : name && board.width >= 640 ? `worker ${name}` : name || "worker";
      board.text(`host ${name}`, "title", area.x, area.y - 26, title, area.width);
    }
    counts.set(key, place === "queue" ? area.y - 6 : area.y - 8);
  }
  for (const { host, slot, x, y } of slots.values()) {
    board.rect(`slot ${host} ${slot}`, "slot", x, y, widths[2] - 16, 23, 6);
    board.text(`name ${host} ${slot}`, "faint", x + 6, y + 15.5, (board.width < 640 ? "" : "slot ") + (slot || "?"));
  }
  return counts;
}

function tokens(board, film, tasks, areas, slots, ghosts, width, t) {
  let running = 0;
  const heard = tasks.some((task) => task.said.result);
  for (const task of tasks) {
    const here = moment(task, t);
    if (!here) {
      if (ghosts.has(task.id)) areas.get("notebook ").put(board, task, null, ghosts.get(task.id), t);
      continue;
    }
    const { lane } = here;
    const slot = here.place === "slot" && slots.get(`${lane.host} ${here.cell}`);
    if (slot) {
      const indent = board.width < 640 ? 30 : 55;
      token(board, task, here, slot.x + indent, slot.y + 11.5, 8, t, width - 16 - indent - 46);
      board.text(`time ${task.id}`, "faint", slot.x + width - 22, slot.y + 15.5, runningFor(t - here.since), 46, "end");
      if (here.state !== "RETRY") {
        board.path(`run ${task.id}`, "run", "M", slot.x + 5, slot.y + 22, "H", slot.x + width - 21);
        running += 1;
      }
    } else if (here.place === "queue") areas.get(`queue ${task.queue}`).put(board, task, here, here.cell, t);
    else if (here.place === "end") {
      let result = task.result ? (here.state === "SUCCESS" ? ` = ${task.result}` : ` ${task.result}`) : "";
      // There is no backend, or it spoke of others, and not of this one.
      if (!film.keeps || (heard && here.state === "SUCCESS" && !task.said.result)) result = " (not kept)";
      areas.get("end ").put(board, task, here, here.cell, t, task.label + result);
    } else {
      const wait = lane.eta !== null && lane.eta > t ? `, in ${duration(lane.eta - t)}` : "";
      const again = lane.attempt ? `, attempt ${lane.attempt + 1}` : "";
      (areas.get(`bag ${lane.host}`) ?? areas.get("end ")).put(board, task, here, here.cell, t, task.label + again + wait);
    }
  }
  return running;
}

/** Whether a task has a place among the queues: it was sent to one, or it waited in one whose name nobody told. */
function waits(task) {
  const isPassedBy = ({ marks }, number) => marks[number][2] === "i" && number + 1 < marks.length && marks[number + 1][1] <= marks[number][1];
  return task.lanes.some((lane) => lane.marks.some((mark, number) => mark[0] === "PENDING" && (task.queue || !isPassedBy(lane, number))));
}

/** Every step of all tasks in the order of time, the first of those at once first; and when each task was sent. */
function stepsInOrder(tasks) {
  const [steps, sent] = [[], []];
  for (const task of tasks) {
    let first = Infinity;
    for (const lane of task.lanes)
      for (const mark of lane.marks) {
        steps.push([mark[1], task, mark[0]]);
        if (mark[0] === "PENDING") first = min(first, mark[1]);
      }
    if (first < Infinity) sent.push([first]);
  }
  const byTime = (one, two) => one[0] - two[0];
  return { steps: steps.sort(byTime), sent: sent.sort(byTime) };
}

/** How many of a list that is sorted by time, its first column, were by t. */
function until(sorted, t) {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle][0] <= t) low = middle + 1;
    else high = middle;
  }
  return low;
}

function lastStep(film, { steps }, t) {
  const command = film.commands.findLast((one) => one[0] <= t);
  if (command) return command[1];
  let number = until(steps, t) - 1;
  if (number < 0) return "nothing has happened yet";
  while (number && steps[number - 1][0] === steps[number][0]) number -= 1;
  const [, task, state] = steps[number];
  return `last step: ${task.label}: ${state}`;
}

// ------------------------------------------------------------------------------------------------------------- lanes

const TICK = 56; // pixels from one time on the axis to the next, at least

function lanes(board, film, tasks, t, by) {
  const end = horizon(tasks, film.now);
  const [step, total] = axis(end);
  const left = floor(min(240, max(board.width * 0.27, min(189, board.width * 0.42)))); // where it is narrow, names need more of it
  const right = by === "slot" ? 16 : floor(min(110, board.width * 0.11));
  const scale = (board.width - left - right) / total;
  const [pitch, top] = [26, 26];
  const at = (seconds) => left + max(0, seconds) * scale;
  const slots = slotsOf(film, tasks);
  const rows = by === "slot" ? slots.length : most(tasks.flatMap((task) => task.lanes.map((lane) => lane.row)));
  board.height = top + max(rows, 1) * pitch + 8;
  const each = -floor(-TICK / (step * scale));
  for (let number = 0; number <= floor(total / step + 1e-9); number += 1) {
    const x = at(number * step);
    board.path(`grid ${number}`, "rule", "M", x, 20, "V", board.height - 6);
    if (number % each === 0) board.text(`tick ${number}`, "faint", x, 14, tick(number * step, step), 0, number ? "middle" : "start");
  }
  if (by === "slot") slotRows(board, tasks, slots, t, min(t, end), at, left, top, pitch);
  else for (const task of tasks) for (const lane of task.lanes) laneRow(board, task, lane, t, at, left, top + lane.row * pitch);
  if (!tasks.length) board.text("empty", "faint", PAD, top + 16, "nothing has happened yet");
  if (t < end) board.path("now", "now", "M", at(t), 18, "V", board.height - 4);
}

function laneRow(board, task, lane, t, at, left, top) {
  const key = `${task.id} ${lane.attempt} ${lane.delivery}`;
  const middle = top + 13;
  const extra = lane.attempt ? `attempt ${lane.attempt + 1}` : lane.delivery ? `run ${lane.delivery + 1}` : "";
  const shown = lane.marks.filter((mark) => mark[1] <= t);
  board.text(`label ${key}`, shown.length ? "text" : "faint", 4, middle + 4, task.label, left - 16 - (extra ? extent(extra, 11) + 8 : 0));
  if (extra) board.text(`extra ${key}`, "faint", left - 10, middle + 4, extra, 0, "end");
  lane.spans.forEach(([kind, begin, finish], number) => {
    const until = finish === null || finish > t ? t : finish;
    const inside = shown.map((mark) => at(mark[1]));
    if (begin <= t) spanOf(board, `${key} ${number}`, kind, at(begin), at(until), middle, until - begin, inside);
  });
  lane.marks.forEach(([state, when, evidence, note], number) => {
    if (when > t) return;
    const big = rank(state) >= 3;
    const kind = (big ? "big" : "small") + (evidence === "i" ? " inferred" : evidence === "c" ? " contradicted" : "");
    const name = `${task.label}, attempt ${lane.attempt + 1}, ${state} after ${duration(when)}${note ? `, ${note}` : ""}`;
    board.disc(`mark ${key} ${number}`, at(when), middle, big ? 8 : 4.5, state, kind, { uuid: task.id, attempt: lane.attempt, label: "", name, mark: evidence });
  });
  const last = shown.at(-1);
  if (last && isEnd(last[0])) {
    const x = at(max(...shown.map((mark) => mark[1]))) + 13;
    // The task's result is that of its last lane; one that ended before, under the same id, has its own.
    const result = lane === task.lanes.at(-1) ? task.result : last[3];
    let text = last[0] === "SUCCESS" && result ? `= ${result}` : result || last[0];
    if (last[0] === "REVOKED") text = last[3] || "revoked"; // why, without the name of the error around it
    board.text(`result ${key}`, "faint", x, middle + 4, text, max(board.width - x - 2, 1));
  }
}

function spanOf(board, key, kind, x0, x1, middle, seconds, marks) {
  const [width, text] = [x1 - x0, duration(seconds)];
  const size = extent(text, 11);
  if (kind === "waiting") board.rect(`span ${key}`, "waiting", x0, middle - 1.5, width, 3);
  else if (kind === "reserved") board.rect(`span ${key}`, "reserved", x0, middle - 3.5, width, 7);
  else if (kind === "running") {
    board.rect(`span ${key}`, "running", x0, middle - 8, max(width, 1), 16, 2);
    const free = (right) => width > size + 24 && !marks.some((x) => right - size - 6 < x && x < right + 6);
    const right = [x1 - 12, x0 + size + 10].find(free); // at the end, or else at the beginning, if no mark lies there
    if (right !== undefined) board.text(`time ${key}`, "bright", right, middle + 3.5, text, 0, "end");
  } else if (kind === "backoff") {
    board.rect(`span ${key}`, "backoff", x0, middle - 5, width, 10);
    const d = [];
    for (let number = 0; number < floor(width / 6); number += 1) d.push("M", x0 + number * 6, middle + 5, "l", 6, -10);
    if (d.length) board.path(`hatch ${key}`, "hatch", ...d);
    if (width > size + 30) {
      board.rect(`back ${key}`, "backing", (x0 + x1) / 2 - size / 2 - 4, middle - 8, size + 8, 16, 3);
      board.text(`time ${key}`, "faint", (x0 + x1) / 2, middle + 4, text, 0, "middle");
    }
  }
}

function slotsOf(film, tasks) {
  const seen = new Map();
  const add = (host, slot) => seen.set(`${host} ${slot}`, seen.get(`${host} ${slot}`) ?? { host, slot });
  for (const worker of film.workers) for (let slot = 1; slot <= worker.slots; slot += 1) add(worker.host, slot);
  for (const task of tasks) for (const lane of task.lanes) if (lane.spans.some((span) => span[0] === "running")) add(lane.host, lane.slot ?? 0);
  const hosts = unique([...seen.values()].map((slot) => slot.host));
  return [...seen.values()].sort((one, two) => hosts.indexOf(one.host) - hosts.indexOf(two.host) || one.slot - two.slot);
}

function slotRows(board, tasks, slots, t, until, at, left, top, pitch) {
  const rows = new Map(slots.map(({ host, slot }, row) => [`${host} ${slot}`, { row, busy: [] }]));
  const work = [];
  for (const task of tasks)
    for (const lane of task.lanes)
      for (const [kind, begin, finish] of lane.spans)
        if (kind === "running" && begin <= t) {
          const stop = finish === null ? t : min(finish, t);
          const { row, busy } = rows.get(`${lane.host} ${lane.slot ?? 0}`);
          busy.push([begin, stop]);
          work.push([task, lane, begin, stop, row]);
        }
  const first = work.reduce((least, [, , begin]) => min(least, begin), Infinity);
  const several = new Set(slots.map(({ host }) => host)).size > 1;
  slots.forEach(({ host, slot }, row) => {
    const [middle, key] = [top + row * pitch + 13, `${host} ${slot}`];
    let [idle, edge] = [0, work.length ? first : 0];
    for (const [begin, stop] of [...rows.get(key).busy.sort((one, two) => one[0] - two[0] || one[1] - two[1]), [until, until]]) {
      if (begin > edge) {
        board.rect(`idle ${key} ${round(edge * 1000)}`, "idle", at(edge), middle - 8, at(begin) - at(edge), 16);
        idle += begin - edge;
      }
      edge = max(edge, stop);
    }
    const from = work.length ? first : 0;
    const share = until > from ? `idle ${floor((100 * idle) / (until - from) + 0.5)} %` : "";
    board.text(`extra ${key}`, "faint", left - 10, middle + 4, share, 0, "end");
    board.text(`label ${key}`, "text", 4, middle + 4, (slot ? `slot ${slot}` : "slot ?") + (several ? ` ${host}` : ""), left - 24 - extent(share, 11));
  });
  for (const [task, lane, begin, stop, row] of work) {
    const [middle, key] = [top + row * pitch + 13, `${task.id} ${lane.attempt} ${lane.delivery}`];
    const last = lane.marks.filter((mark) => mark[1] <= t).at(-1);
    const width = at(stop) - at(begin);
    board.rect(`span ${key}`, "running", at(begin), middle - 8, max(width, 1), 16, 2);
    if (width > 40) board.text(`name ${key}`, "bright", at(begin) + 6, middle + 3.5, task.label, width - 18);
    const name = `${task.label}, attempt ${lane.attempt + 1}, ${last[0]}, ran ${duration(stop - begin)}, slot ${lane.slot ?? "?"}`;
    const big = rank(last[0]) >= 3;
    board.disc(`mark ${key}`, at(big ? stop : begin), middle, big ? 7 : 4.5, last[0], big ? "big" : "small", { uuid: task.id, attempt: lane.attempt, label: "", name });
  }
}

// ------------------------------------------------------------------------------------------------------------- graph

function graphs(board, film, tasks, t) {
  const byId = new Map(tasks.map((task) => [task.id, task]));
  board.height = 4;
  if (!film.graphs.length) {
    board.height = 40;
    board.text("empty", "faint", PAD, 24, "no canvas was given");
  }
  const counts = countsAt(film.crowd, t);
  for (const graph of film.graphs) for (const node of graph.nodes) if ("of" in node) byId.set(node.id, crowdTask(node, counts));
  film.graphs.forEach((graph, number) => oneGraph(board, graph, byId, t, `${number} `, board.height));
}

/** The nodes that will not run any more, because what they wait for went the other way. */
export function neverRan(graph, states) {
  const lost = new Set();
  for (const node of [...graph.nodes].sort((one, two) => one.x - two.x)) {
    if (states.get(node.id)) continue;
    const waits = graph.gates.filter((gate) => gate.bodies.includes(node.id)).flatMap((gate) => gate.members.map((name) => [name, "chord"]));
    for (const edge of graph.edges) if (edge.target === node.id) waits.push([edge.source, edge.kind]);
    for (const [source, kind] of waits) {
      const failed = ["FAILURE", "REVOKED"].includes(states.get(source)) || lost.has(source);
      if (kind === "link_error" ? states.get(source) === "SUCCESS" : failed) lost.add(node.id);
    }
  }
  return lost;
}

function oneGraph(board, graph, byId, t, prefix, top) {
  const column = min(200, (board.width - 2 * PAD) / graph.layers);
  const gap = max(16, min(46, column * 0.3));
  const wide = column - gap;
  const below = max(wide + 14, wide + 0.8 * gap - 10); // what is written below a node ends at the gate before it
  const names = graph.nodes.filter((node) => !("small" in node)).map((node) => (node.label || node.name).split("(")[0]);
  // A name for which its node has no room stands below it, and needs room there.
  const pitch = names.some((name) => extent(name, 12) > wide - 28) ? 46 : 34;
  const spots = new Map(); // left, right and middle of whatever an edge can touch
  for (const box of graph.boxes) {
    const pad = min(gap / 2 - 3, 7 + 5 * box.inset);
    const [x, y] = [PAD + gap / 2 + box.x0 * column - pad, top + PAD + box.y0 * pitch];
    const [w, h] = [(box.x1 - box.x0) * column + wide + 2 * pad, (box.y1 - box.y0) * pitch];
    board.rect(`${prefix}box ${box.id}`, "group", x, y + 2, w, h - 4, 8);
    board.text(`${prefix}kind ${box.id}`, "faint", x + 8, y + 15, box.kind, w - 12);
    spots.set(`box ${box.id}`, [x, x + w, y + h / 2]);
  }
  const here = new Map();
  const taken = new Map();
  for (const node of graph.nodes) {
    const x = PAD + gap / 2 + node.x * column;
    const task = byId.get(node.id);
    here.set(node.id, task?.here !== undefined ? task.here : task ? moment(task, t) : null);
    // What nobody planned was not there before it was seen.
    if (here.get(node.id) || node.kind !== "unplanned") spots.set(node.id, [x, x + wide, top + PAD + node.y * pitch]);
    taken.set(node.id, here.get(node.id)?.state === "SUCCESS");
  }
  graph.gates.forEach((gate, number) => {
    const box = graph.boxes[gate.box];
    const [x, y] = [PAD + gap / 2 + gate.x * column - gap * 0.4, top + PAD + gate.y * pitch];
    const counted = gate.counts.findLast((one) => one[0] <= t);
    const done = counted ? counted[1] : gate.members.reduce((sum, name) => sum + (byId.get(name)?.done ?? Number(taken.get(name) ?? 0)), 0);
    const half = max(15, min(60, ((box.y1 - box.y0) * pitch) / 2 - 6));
    // One that fails is counted too, and the gate stays shut.
    const shut = gate.members.some((name) => ["FAILURE", "REVOKED"].includes(here.get(name)?.state));
    taken.set(`gate ${number}`, done >= gate.of && !shut);
    board.rect(`${prefix}gate ${number}`, shut ? "gate shut" : done >= gate.of ? "gate open" : "gate", x - 2.5, y - half, 5, 2 * half, 2);
    const text = (counted ? `${done}/${gate.of}` : `(${done}/${gate.of})`) + (shut ? " shut" : "");
    board.text(`${prefix}gated ${number}`, "faint", x + (half > 25 ? 7 : -2), y - half + (half > 25 ? 8 : -5), `gate ${text}`);
    spots.set(`gate ${number}`, [x - 2.5, x + 2.5, y]);
  });
  for (const edge of graph.edges) if (spots.has(edge.source) && spots.has(edge.target)) edgeOf(board, prefix, edge, spots, here, taken);
  const lost = neverRan(graph, new Map([...here].map(([name, one]) => [name, one?.state])));
  for (const node of graph.nodes) {
    if (!spots.has(node.id)) continue;
    const task = byId.get(node.id) ?? { id: node.id, label: node.label || node.name, planned: true, result: "", lanes: [] };
    nodeOf(board, prefix, node, task, here.get(node.id), spots.get(node.id), wide, below, t, lost.has(node.id));
  }
  board.height = top + graph.rows * pitch + 2 * PAD;
}

function edgeOf(board, prefix, { source, target, kind }, spots, here, taken) {
  const [, x0, y0] = spots.get(source);
  const [x1, , middle] = spots.get(target);
  const state = here.get(source)?.state;
  const went = kind === "link_error" ? state === "FAILURE" : kind === "unplanned" ? Boolean(state) : taken.get(source);
  const y1 = target.startsWith("gate ") ? middle + max(-12, min(12, (y0 - middle) / 4)) : middle;
  const bend = max(6, (x1 - x0) / 2);
  const cls = went ? "edge taken" : ["link", "link_error", "unplanned"].includes(kind) ? "edge spare" : "edge";
  board.path(`${prefix}edge ${source} ${target} ${kind}`, cls, "M", x0, y0, "C", x0 + bend, y0, x1 - bend, y1, x1, y1);
}

function nodeOf(board, prefix, node, task, here, [x, , y], wide, below, t, lost) {
  const idle = Boolean(here) && !task.told && isEnd(here.state) && !wasSent(task, t); // its end is on record, and it never ran
  const cls = kindOf(idle ? null : here, node.kind === "unplanned");
  const state = here ? here.state : "PENDING";
  const note = task.short ?? (lost || idle ? "never ran" : "");
  const aloud = task.told ?? (idle ? `${state}, never ran` : note);
  const name = aloud ? `${task.label}, ${aloud}` : spoken(task, here, t);
  const more = { uuid: node.id, attempt: here ? here.lane.attempt : 0, name };
  const key = `${prefix}token ${node.id}`;
  if ("small" in node) {
    board.disc(key, x + ((node.small + 0.5) * wide) / node.abreast, y, max(2, min(7, floor(wide / (2.2 * node.abreast)))), state, cls, { label: "", ...more });
    return;
  }
  const paint = here ? `node ${lookOf(state)}${idle ? " idle" : ""}` : "node ghost";
  if (node.kind === "unplanned") board.rect(`${prefix}outer ${node.id}`, paint, x - 3, y - 15, wide + 6, 30, 15);
  board.rect(`${prefix}node ${node.id}`, paint, x, y - 12, wide, 24, 12);
  const label = node.label || node.name;
  const text = here?.state === "SUCCESS" && task.result ? `${label} = ${task.result}` : label;
  const room = wide - 28;
  const bare = label.split("(")[0]; // where there is no room: without its result, then without its arguments
  const shown = [text, label, `${bare}(…)`, bare].find((one) => extent(one, 12) <= room) ?? "";
  if (!shown) board.text(`${prefix}below ${node.id}`, "faint", x + wide / 2, y + (node.kind === "unplanned" ? 26 : 23), fit(bare, below, 11), 0, "middle");
  if (note && !shown) board.text(`${prefix}lost ${node.id}`, "faint", x + 26, y + 4, fit(note, room, 11), 0);
  else if (task.told) board.text(`${prefix}lost ${node.id}`, "faint", x + 4, y + 21, note, wide + 20);
  else if (note) board.text(`${prefix}lost ${node.id}`, "faint", x + 26, y + 23, note, 0);
  board.disc(key, x + 12, y, 8, state, cls, { label: shown, ...more });
}

// ------------------------------------------------------------------------------------------------------------ states

const SPOTS = { PENDING: [0.1, 0], RECEIVED: [0.365, 0], STARTED: [0.635, 0], SUCCESS: [0.9, 0], RETRY: [0.5, 1], FAILURE: [0.9, 1], REVOKED: [0.9, 2] };
const WAYS = [
  "PENDING RECEIVED", "RECEIVED STARTED", "STARTED SUCCESS", "STARTED FAILURE", "STARTED RETRY",
  "RETRY RECEIVED", "PENDING REVOKED", "RECEIVED REVOKED", "STARTED REVOKED",
];

function stepsOf(task, t) {
  const steps = [];
  for (const lane of task.lanes)
    for (const [state, when, evidence] of lane.marks) {
      const before = steps.at(-1)?.[0];
      if (when <= t && before !== state && !(before === "RETRY" && state === "PENDING")) steps.push([state, evidence]);
    }
  return steps;
}

function states(board, film, tasks, t) {
  const span = min(board.width, 860);
  const [shift, wide, high] = [(board.width - span) / 2, floor(span * 0.19), 46];
  const [sure, maybe, here, visits] = [{}, {}, {}, {}];
  const add = (counts, key) => (counts[key] = (counts[key] ?? 0) + 1);
  const custom = new Set();
  for (const task of tasks) {
    const steps = stepsOf(task, t);
    steps.forEach(([state, evidence], number) => {
      add(visits, state);
      if (number) add(evidence === "i" ? maybe : sure, `${steps[number - 1][0]} ${state}`);
    });
    for (const [state] of stepsOf(task, film.now)) if (!isKnown(state)) custom.add(state);
    const now = moment(task, t);
    if (now) add(here, now.state);
  }
  const down = custom.size ? 1 : 0;
  const spots = new Map(Object.entries(SPOTS).map(([state, [x, y]]) => [state, [shift + floor(span * x), 36 + 92 * (y + down)]]));
  [...custom].slice(0, 4).forEach((state, number) => spots.set(state, [shift + floor(span * [0.635, 0.365, 0.9, 0.1][number]), 36]));
  board.height = 36 + 92 * (2 + down) + 40;
  const ways = new Map(WAYS.map((way) => [way, way.split(" ")]));
  for (const way of [...Object.keys(sure), ...Object.keys(maybe)]) {
    const ends = [...spots.keys()].flatMap((one) => (way.startsWith(`${one} `) && spots.has(way.slice(one.length + 1)) ? [[one, way.slice(one.length + 1)]] : []))[0];
    if (!ways.has(way) && ends) ways.set(way, ends);
  }
  const counts = [...ways].map(([way, ends]) => [ends, sure[way] ?? 0, maybe[way] ?? 0]);
  counts.sort((one, two) => min(one[1] + one[2], 1) - min(two[1] + two[2], 1)); // the path taken lies on top
  for (const [[one, two], seen, guessed] of counts)
    wayOf(board, one, two, spots, wide / 2, high / 2, seen ? "way taken" : guessed ? "way guessed" : "way", seen + guessed);
  for (const [state, [x, y]] of spots) {
    const [was, is] = [visits[state] ?? 0, here[state] ?? 0];
    board.rect(`state ${state}`, was ? `node ${lookOf(state)}` : "node", x - wide / 2, y - high / 2, wide, high, 10);
    const name = `${state}: ${is} here, ${was} came through`;
    board.disc(`token ${state}`, x - wide / 2 + 17, y - 5, 9, state, was ? "" : "ghost", { uuid: state, attempt: 0, label: "", name });
    board.text(`name ${state}`, was ? (wide < 125 ? "text" : "title") : "faint", x - wide / 2 + 32, y - 1, state, wide - 34);
    board.text(`count ${state}`, "faint", x - wide / 2 + 32, y + 15, is ? `${is} here` : "", wide - 36);
  }
}

function wayOf(board, one, two, spots, half, tall, kind, number) {
  const [[x0, y0], [x1, y1]] = [spots.get(one), spots.get(two)];
  const key = `way ${one} ${two}`;
  const sign = y1 > y0 ? 1 : -1;
  let points, tip, text;
  if (y0 === y1 && x1 > x0 && WAYS.includes(`${one} ${two}`)) {
    points = ["M", x0 + half, y0, "H", x1 - half - 2];
    [tip, text] = [[x1 - half - 2, y0, 1, 0], [(x0 + x1) / 2, y0 - 6]];
  } else if (y0 === y1) {
    points = ["M", x0, y0 - tall, "C", x0, y0 - tall - 26, x1, y0 - tall - 26, x1, y0 - tall - 2];
    [tip, text] = [[x1, y0 - tall - 2, 0, 1], [(x0 + x1) / 2, y0 - tall - 8]];
  } else if (!isKnown(one) && x1 > x0) {
    points = ["M", x0 + half, y0, "C", x1, y0, x1, y0, x1, y1 - tall - 2];
    [tip, text] = [[x1, y1 - tall - 2, 0, 1], [x1 - 30, y0 + 4]];
  } else if ([one, two].includes("RETRY") && abs(x1 - x0) < 2 * half) {
    const x = (x0 + x1) / 2;
    points = ["M", x, y0 + sign * tall, "V", y1 - sign * (tall + 2)];
    [tip, text] = [[x, y1 - sign * (tall + 2), 0, sign], [x + 16, (y0 + y1) / 2 + 4]];
  } else if (["PENDING", "RECEIVED"].includes(one) && y1 > y0) {
    points = ["M", x0 - 20, y0 + tall, "C", x0 - 20, y1, x0 - 20, y1, x0 + 30, y1, "H", x1 - half - 2];
    [tip, text] = [[x1 - half - 2, y1, 1, 0], [x0 + 60, y1 - 6]];
  } else if (x1 > x0 + half) {
    points = ["M", x0 + half - 20, y0 + tall, "C", x0 + half - 20, y1, x0 + half - 10, y1, x1 - half - 2, y1];
    [tip, text] = [[x1 - half - 2, y1, 1, 0], [x1 - half - 22, y1 - 6]];
  } else if (x1 === x0) {
    const x = x0 + 12 * sign;
    points = ["M", x, y0 + sign * tall, "V", y1 - sign * (tall + 2)];
    [tip, text] = [[x, y1 - sign * (tall + 2), 0, sign], [x + 16, (y0 + y1) / 2]];
  } else {
    points = ["M", x0, y0, "L", x1, y1];
    [tip, text] = [[x1, y1, 0, 1], [(x0 + x1) / 2, (y0 + y1) / 2]];
  }
  board.path(key, kind, ...points);
  const [x, y, dx, dy] = tip;
  const corners = ["M", x + 2 * dx, y + 2 * dy, "L", x - 6 * dx - 4 * dy, y - 6 * dy - 4 * dx, "L", x - 6 * dx + 4 * dy, y - 6 * dy + 4 * dx, "Z"];
  board.path(`tip ${key}`, number ? "head taken" : "head", ...corners);
  if (number > 1) board.text(`times ${key}`, "faint", text[0], text[1], `${number} ×`, 0, "middle");
}

// ------------------------------------------------------------------------------------------------ witnesses and xray

function witnesses(board, film, tasks, t) {
  const isWatched = tasks.some((task) => task.broker.length);
  const rows = tasks.map((task) => {
    const said = wordsOf(task, t);
    const states = ["e", "r"].map((witness) => (said[witness] ? { state: said[witness], uuid: task.id, key: `${task.id} ${witness}` } : "–"));
    const messages = [isWatched ? (said.c ?? "–") : "not asked", said.p ? "sent it" : "–"]; // these two know of messages, not of states
    return [task.label, ...states, ...messages, disagree(task, t) ? { alarm: "≠ disagree" } : Object.keys(said).length ? "" : "no word of it"];
  });
  const narrow = board.width < 640;
  const titles = narrow ? ["events", "results", "broker", "notebook"] : ["events", "result backend", "broker", "your notebook"];
  const shares = narrow ? [0.17, 0.2, 0.2, 0.13, 0.13, 0.17] : [0.22, 0.18, 0.18, 0.12, 0.14, 0.16];
  table(board, ["task", ...titles, ""], shares, rows, "nothing has happened yet");
}

function xray(board, film) {
  const shown = film.xray ?? { columns: ["key", "type", "holds", "time to live"], shares: [0.34, 0.1, 0.42, 0.14], rows: [] };
  // The last column, of times, is never cut: what it needs more than its share is taken from the one before.
  const [before, last] = shown.shares.slice(-2);
  const texts = [shown.columns.at(-1), ...shown.rows.map((row) => row.at(-1))];
  const needed = max(last, (max(...texts.map((text) => extent(text, 11))) + 9) / (board.width - 2 * PAD));
  table(board, shown.columns, [...shown.shares.slice(0, -2), before + last - needed, needed], shown.rows, "no X-ray was taken");
}

function table(board, titles, shares, rows, empty) {
  const room = board.width - 2 * PAD;
  const lefts = shares.map((_, column) => PAD + shares.slice(0, column).reduce((sum, share) => sum + share, 0) * room);
  const widths = shares.map((share) => share * room - 8);
  titles.forEach((title, column) => board.text(`head ${column}`, "faint", lefts[column], 18, title, widths[column]));
  board.path("head", "rule", "M", PAD - 4, 26, "H", board.width - PAD + 4);
  let y = 27;
  rows.forEach((row, number) => {
    row.forEach((cell, column) => {
      const [key, x, w] = [`cell ${number} ${column}`, lefts[column], widths[column]];
      if (typeof cell === "string") board.text(key, column ? "faint" : "text", x, y + 17, cell, w);
      else if ("alarm" in cell) board.text(key, "alarm", x, y + 17, cell.alarm, w);
      else board.disc(`token ${cell.key}`, x + 8, y + 13, 7, cell.state, "", { uuid: cell.uuid, attempt: 0, label: fit(cell.state, w - 20, 12), name: cell.state });
    });
    y += 26;
    board.path(`rule ${number}`, "rule", "M", PAD - 4, y, "H", board.width - PAD + 4);
  });
  if (!rows.length) {
    board.text("empty", "faint", PAD, y + 17, empty);
    y += 26;
  }
  board.height = y + 6;
}

const SCENES = { stage, lanes, graph: graphs, states, xray, witnesses };
export const VIEWS = Object.keys(SCENES);
