// The film in the browser: keyframes and batches come in, and what it shows at a time goes out. No DOM, no clock.
// What is said here of a moment, moment.py says for the stills; tests/unit/test_stage_js.py compares the two.
import STATES from "../states.json" with { type: "json" };

export const isKnown = (state) => Object.hasOwn(STATES, state);
export const lookOf = (state) => (isKnown(state) ? state : ["REJECTED", "CANCELLED"].includes(state) ? "REVOKED" : "STARTED");
export const rank = (state) => STATES[lookOf(state)].rank;
const ORDER = Object.keys(STATES);
export const order = (state) => ORDER.indexOf(lookOf(state));
export const isEnd = (state) => isKnown(state) && rank(state) === 4;

export function emptyFilm() {
  return { origin: null, now: 0, live: false, shown: 0, of: 0, tasks: [], notes: [], workers: [], queues: {}, graphs: [], commands: [], xray: null, keeps: true, crowd: null };
}

const laneKey = (lane) => `${lane.attempt} ${lane.delivery}`;
const inOrder = (one, two) => one.attempt - two.attempt || one.delivery - two.delivery;

const COMMANDS = 500; // of the broker that are remembered, as many as the kernel does

/** The whole film, kept up to date by keyframes and batches. A batch is idempotent; after a gap only a keyframe helps. */
export class Reel {
  constructor() {
    this.film = emptyFilm();
    this.byId = new Map();
    this.marks = new Map(); // how many marks were received of each lane of the tasks that are shown
    this.received = 0;
    this.seq = 0;
    this.gap = false;
    this.version = 0; // grows with every change, so that nothing is drawn twice
  }

  keyframe(film) {
    if (!film || !film.tasks || (film.seq ?? 0) < this.seq) return false; // an older one tells nothing new
    const tasks = film.tasks.map((task) => ({ ...task, lanes: [] }));
    for (const lane of film.lanes) tasks[lane.task].lanes.push(lane);
    this.film = { ...emptyFilm(), ...film, tasks };
    this.byId = new Map(tasks.map((task) => [task.id, task]));
    const before = this.marks;
    this.marks = new Map();
    for (const task of tasks) {
      task.lanes.sort(inOrder);
      for (const lane of task.lanes) this.count(task.id, lane, before);
    }
    this.seq = film.seq ?? 0;
    this.gap = false;
    this.version += 1;
    return true;
  }

  batch(batch) {
    if (batch.seq <= this.seq) return false;
    if (this.gap || batch.seq !== this.seq + 1) {
      this.gap = true;
      return false;
    }
    const { film } = this;
    this.seq = batch.seq;
    film.now = Math.max(film.now, batch.now ?? 0);
    film.origin ??= batch.origin;
    for (const part of ["workers", "queues", "notes", "xray", "keeps", "graphs", "crowd", "of"]) if (part in batch) film[part] = batch[part];
    if (batch.commands) film.commands = [...film.commands, ...batch.commands].slice(-COMMANDS);
    for (const change of batch.upserts ?? []) this.upsert(change);
    for (const id of batch.drops ?? []) {
      for (const lane of this.byId.get(id)?.lanes ?? []) this.marks.delete(`${id} ${laneKey(lane)}`);
      this.byId.delete(id);
    }
    if (batch.drops) film.tasks = film.tasks.filter((task) => this.byId.has(task.id));
    film.shown = film.tasks.length;
    this.version += 1;
    return true;
  }

  upsert({ lanes = [], ...fields }) {
    let task = this.byId.get(fields.id);
    if (!task) {
      task = { lanes: [] };
      this.byId.set(fields.id, task);
      this.film.tasks.push(task);
    }
    Object.assign(task, fields);
    for (const { had = 0, ...lane } of lanes) {
      const place = task.lanes.findIndex((one) => laneKey(one) === laneKey(lane));
      const known = place < 0 ? [] : task.lanes[place].marks;
      if (had > known.length) this.gap = true; // the kernel thinks that we know more
      lane.marks = [...known.slice(0, had), ...lane.marks];
      if (place < 0) task.lanes.push(lane);
      else task.lanes[place] = lane;
      this.count(fields.id, lane);
    }
    task.lanes.sort(inOrder);
  }

  count(id, lane, marks = this.marks) {
    const key = `${id} ${laneKey(lane)}`;
    const before = marks.get(key) ?? 0;
    const now = Math.max(before, lane.marks.length);
    this.received += now - before;
    this.marks.set(key, now);
  }
}

const PLACES = ["queue", "bag", "end"];

function placeOf(state, lane) {
  const where = rank(state);
  if (where === 2 || state === "RETRY") return ["slot", lane.slot ?? 0];
  const place = where === 0 ? 0 : where === 1 ? 1 : 2;
  return [PLACES[place], Math.max(0, lane.cells[place])];
}

function at(lane, mark, state = mark[0], since = mark[1], evidence = mark[2]) {
  const [place, cell] = placeOf(mark[0], lane);
  return { state, since, evidence, place, cell, lane };
}

/** Where a task is at t, or null before anything was seen of it. */
export function moment(task, t) {
  let last = null;
  let lead = null;
  for (const lane of task.lanes) {
    const mark = lane.marks.findLast((one) => one[1] <= t);
    if (!mark) continue;
    last = [lane, mark];
    if (rank(mark[0]) >= 2) lead = last;
  }
  if (!last) return null;
  if (lead && lead[0] !== last[0]) {
    if (rank(lead[1][0]) === 2 && last[0].attempt > lead[0].attempt) last = lead; // the next attempt is published before this one has ended
    else if (lead[1][0] === "RETRY") return at(last[0], last[1], "RETRY", lead[1][1], lead[1][2]);
  }
  return at(last[0], last[1]);
}

/** Whether a task's message was on its way by t: an id that nobody sent can be on record too. */
export const wasSent = (task, t) => task.lanes.some((lane) => lane.marks.some((mark) => mark[0] === "PENDING" && mark[1] <= t));

/** Each witness's last word about a task until t, by the witness's letter; the broker's is where the message is. */
export function wordsOf(task, t) {
  const told = task.lanes.flatMap((lane) => lane.marks.filter((mark) => mark[1] <= t)).sort((one, two) => one[1] - two[1]);
  const said = {};
  for (const [state, , , , witnesses] of told) for (const who of witnesses) if (who !== "c") said[who] = state;
  for (const [at, where] of task.broker) if (at <= t) said.c = where;
  return said;
}

/** Whether the events and the result backend contradict each other at t; who has not spoken yet contradicts nobody. */
export function disagree(task, t) {
  const { e, r } = wordsOf(task, t);
  if (!e || !r) return false;
  return (isEnd(e) && !isEnd(r)) || task.lanes.some((lane) => lane.marks.some((mark) => mark[1] <= t && mark[2] === "c"));
}

/** The end of the time axis: now while something is open, else a little after the last mark. */
export function horizon(tasks, now) {
  let end = 0;
  let open = false;
  for (const task of tasks)
    for (const lane of task.lanes) {
      for (const mark of lane.marks) end = Math.max(end, mark[1]);
      open ||= lane.spans.some((span) => span[2] === null);
    }
  return open ? Math.max(now, end, 0.001) : Math.max(end * 1.02, 0.001);
}

export function axis(end) {
  let magnitude = 0.0001;
  while (magnitude * 10 <= end / 5) magnitude *= 10;
  const step = [1, 2, 5, 10].find((factor) => factor * magnitude >= end / 5 || factor === 10) * magnitude;
  return [step, -Math.floor(-end / (step / 2)) * (step / 2)];
}

export function duration(seconds) {
  if (seconds < 0.0995) return `${Math.floor(seconds * 1000 + 0.5)} ms`;
  if (seconds < 100) {
    const tenths = Math.floor(seconds * 10 + 0.5);
    return `${Math.floor(tenths / 10)}.${tenths % 10} s`;
  }
  return seconds < 600 ? `${Math.floor(seconds + 0.5)} s` : `${Math.floor(seconds / 60 + 0.5)} min`;
}

export function runningFor(seconds) {
  const tenths = Math.floor(seconds * 10 + 1e-9);
  return seconds < 100 ? `${Math.floor(tenths / 10)}.${tenths % 10} s` : duration(seconds);
}

export const tick = (seconds, step) =>
  step < 0.1 ? `${Math.floor(seconds * 10000 + 0.5) / 10} ms` : `${Math.floor(seconds * 10 + 0.5) / 10} s`;

const NARROW = new Set("ijlftr|'.,:;!I()[]/ -\"");
const BROAD = new Set("mwMW%@=+<>~");

function advance(letter) {
  if (NARROW.has(letter)) return 0.42;
  if (BROAD.has(letter) || letter > "~") return 1;
  return letter >= "A" && letter <= "Z" ? 0.79 : 0.64;
}

export function extent(text, size) {
  let sum = 0;
  for (const letter of text) sum += advance(letter);
  return size * sum;
}

export function fit(text, width, size) {
  if (extent(text, size) <= width) return text;
  let left = width - size;
  let kept = "";
  for (const letter of text) {
    left -= size * advance(letter);
    if (left < 0) break;
    kept += letter;
  }
  return kept ? `${kept}…` : "";
}

/** What a listener hears: "3 succeeded, 1 retrying", of all that changed since the last time. */
export function summary(before, tasks, t) {
  const words = { PENDING: "sent", RECEIVED: "received", STARTED: "running", RETRY: "retrying", SUCCESS: "succeeded", FAILURE: "failed", REVOKED: "revoked" };
  const counts = new Map();
  const gone = new Set(before.keys());
  for (const task of tasks) {
    gone.delete(task.id);
    const state = moment(task, t)?.state;
    if (state && before.get(task.id) !== state) {
      before.set(task.id, state);
      counts.set(state, (counts.get(state) ?? 0) + 1);
    }
  }
  for (const id of gone) before.delete(id);
  return [...counts].map(([state, number]) => `${number} ${words[state] ?? state}`).join(", ");
}

const BEFORE = -0.001; // seconds: where nothing has begun, and only what is planned is seen

/** The time that is shown: live it follows the kernel, else it plays at its own speed or stands still. */
export class Clock {
  constructor() {
    this.t = 0;
    this.live = true;
    this.playing = true;
    this.speed = 1;
    this.ticked = null; // our time when it was last asked: several pictures may share it
    this.last = 0; // the latest time that the kernel told
    this.ahead = -Infinity; // its clock less ours; the quickest message tells it best
  }

  hear(now, wall) {
    this.last = Math.max(this.last, now);
    this.ahead = Math.max(this.ahead, now - wall);
  }

  now(wall, goesOn) {
    return goesOn ? Math.max(this.last, wall + this.ahead) : this.last;
  }

  tick(wall, goesOn) {
    const now = this.now(wall, goesOn);
    const elapsed = Math.min(0.5, wall - (this.ticked ?? wall)); // where nobody looks it stands still
    this.ticked = wall;
    if (this.live) this.t = now;
    else if (this.playing) this.t += elapsed * this.speed;
    if (!this.live && this.t >= now) {
      this.t = now;
      if (this.playing && goesOn && this.speed >= 1) this.live = true;
    }
    return this.t;
  }

  /** Whether the picture moves by itself. */
  runs(wall, goesOn) {
    return this.playing && (goesOn || this.t < this.last);
  }

  toggle(wall, goesOn) {
    if (this.runs(wall, goesOn)) [this.playing, this.live] = [false, false];
    else {
      if (this.t >= this.last) this.t = 0; // at the end, play means again
      [this.playing, this.live] = [true, false];
    }
  }

  /** Whether it stands at a time to which somebody was sent. */
  standsAt(t) {
    return t !== null && !this.live && !this.playing && Math.abs(this.t - Math.max(BEFORE, t)) < 1e-6;
  }

  seek(t) {
    [this.t, this.playing, this.live] = [Math.max(BEFORE, t), false, false];
  }

  jump() {
    [this.live, this.playing] = [true, true];
  }

  rewind() {
    [this.t, this.live, this.playing] = [0, false, true];
  }
}

/** When to draw: what is new at once; that time has passed, when the page has had enough of it for other things, such as news. */
export class Pace {
  constructor() {
    this.next = 0; // for what is new
    this.later = 0; // for time that has passed
  }

  isDue(stamp, isNew) {
    return stamp >= (isNew ? this.next : this.later);
  }

  /** A picture was drawn; one of very many parts takes so long to paint that it comes ten times a second. */
  drawn(stamp, parts) {
    this.next = stamp + (parts > 3000 ? 100 : 0);
    this.later = Infinity;
  }

  /** It was painted, too, which took so many milliseconds in all: live, two thirds of the time are for hearing the kernel. */
  painted(stamp, cost, isLive) {
    this.later = Math.max(this.next, stamp + Math.min(isLive ? 3 * cost : 1.5 * cost, 250));
  }
}
