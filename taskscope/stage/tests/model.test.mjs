import assert from "node:assert/strict";
import test from "node:test";
import { Clock, Pace, Reel, axis, duration, fit, moment, summary } from "../model.mjs";

const lane = (attempt, ...marks) => ({
  attempt, delivery: 0, host: "w", slot: 1, row: attempt, eta: null, spans: [], cells: [0, 0, 0],
  marks: marks.map(([state, at]) => [state, at, "o", ""]),
});
const task = (id, ...lanes) => ({ id, label: `${id}()`, queue: "celery", planned: true, result: "", lanes });
const film = (seq, ...tasks) => ({
  seq, now: 1, live: true, shown: tasks.length, of: tasks.length, notes: [], workers: [], queues: {}, graphs: [], commands: [],
  tasks: tasks.map(({ lanes, ...fields }) => fields),
  lanes: tasks.flatMap(({ lanes }, index) => lanes.map((one) => ({ task: index, ...one }))),
});
const states = (reel, t) => Object.fromEntries(reel.film.tasks.map((one) => [one.id, moment(one, t)?.state]));

test("a batch adds a task, changes one and can come twice", () => {
  const reel = new Reel();
  reel.keyframe(film(0, task("a", lane(0, ["PENDING", 0]))));
  const change = { seq: 1, now: 2, upserts: [{ id: "a", state: "STARTED", lanes: [lane(0, ["PENDING", 0], ["STARTED", 1])] }, task("b", lane(0, ["PENDING", 2]))] };
  assert.equal(reel.batch(change), true);
  assert.deepEqual(states(reel, 2), { a: "STARTED", b: "PENDING" });
  assert.equal(reel.film.tasks[0].label, "a()");
  assert.equal(reel.received, 3);
  assert.equal(reel.batch(change), false);
  assert.equal(reel.received, 3);
});

test("of a lane that grows only what is new comes; where that leaves a hole it is a gap", () => {
  const reel = new Reel();
  reel.keyframe(film(0, task("a", lane(0, ["PENDING", 0], ["STARTED", 1]))));
  reel.batch({ seq: 1, upserts: [{ id: "a", lanes: [{ ...lane(0, ["PROGRESS", 2]), had: 2 }] }] });
  const [grown] = reel.film.tasks[0].lanes;
  assert.deepEqual(grown.marks.map(([state]) => state), ["PENDING", "STARTED", "PROGRESS"]);
  assert.deepEqual([reel.received, "had" in grown, reel.gap], [3, false, false]);
  reel.batch({ seq: 2, upserts: [{ id: "a", lanes: [{ ...lane(0, ["SUCCESS", 4]), had: 4 }] }] });
  assert.equal(reel.gap, true);
});

test("after a gap nothing is believed until the next keyframe", () => {
  const reel = new Reel();
  reel.keyframe(film(0));
  assert.equal(reel.batch({ seq: 2, upserts: [task("b", lane(0, ["PENDING", 2]))] }), false);
  assert.equal(reel.gap, true);
  assert.equal(reel.batch({ seq: 3, upserts: [task("c", lane(0, ["PENDING", 2]))] }), false);
  assert.deepEqual(states(reel, 9), {});
  reel.keyframe(film(3, task("a", lane(0, ["PENDING", 0])), task("b", lane(0, ["PENDING", 2]))));
  assert.equal(reel.gap, false);
  assert.equal(reel.batch({ seq: 4, upserts: [task("d", lane(0, ["PENDING", 3]))] }), true);
  assert.deepEqual(Object.keys(states(reel, 9)), ["a", "b", "d"]);
});

test("a keyframe from before the last batch takes nothing back", () => {
  const reel = new Reel();
  reel.keyframe(film(0));
  reel.batch({ seq: 1, upserts: [task("a", lane(0, ["PENDING", 0]))] });
  assert.equal(reel.keyframe(film(0)), false);
  assert.equal(reel.film.tasks.length, 1);
});

test("what was dropped is gone, and its marks stay counted", () => {
  const reel = new Reel();
  reel.keyframe(film(0, task("a", lane(0, ["PENDING", 0], ["SUCCESS", 1]))));
  reel.batch({ seq: 1, of: 2, upserts: [task("b", lane(0, ["PENDING", 2]))], drops: ["a"] });
  assert.deepEqual(Object.keys(states(reel, 9)), ["b"]);
  assert.deepEqual([reel.film.shown, reel.film.of, reel.received], [1, 2, 3]);
  assert.deepEqual([...reel.marks.values()], [1], "only of what is shown is it known lane by lane");
  reel.keyframe(film(1, task("b", lane(0, ["PENDING", 2], ["SUCCESS", 3]))));
  assert.deepEqual([reel.received, [...reel.marks.values()]], [4, [2]], "what a keyframe tells again is not counted again");
  reel.keyframe(film(1, task("c", lane(0, ["PENDING", 4]))));
  assert.deepEqual([reel.received, [...reel.marks.values()]], [5, [1]], "what it does not tell of any more stays counted");
});

test("the next attempt is published before this one has ended", () => {
  const one = task("a", lane(0, ["STARTED", 1], ["RETRY", 2]), lane(1, ["PENDING", 1.8], ["RECEIVED", 1.9], ["STARTED", 3]));
  const seen = [1.5, 1.95, 2.5, 3].map((t) => [moment(one, t).state, moment(one, t).lane.attempt]);
  assert.deepEqual(seen, [["STARTED", 0], ["STARTED", 0], ["RETRY", 1], ["STARTED", 1]]);
});

test("the picture goes back in time as it went forward", () => {
  const one = task("a", lane(0, ["PENDING", 0], ["RECEIVED", 1], ["STARTED", 2], ["FAILURE", 3]));
  const places = (times) => times.map((t) => moment(one, t)?.place ?? null);
  assert.deepEqual(places([-1, 0, 1, 2, 3]), [null, "queue", "bag", "slot", "end"]);
  assert.deepEqual(places([3, 2, 1, 0, -1]), ["end", "slot", "bag", "queue", null]);
});

/** Ask the clock in small steps, as pictures do; return its time at the end. */
function play(clock, from, to, goesOn) {
  let t;
  for (let wall = from; wall <= to; wall += 0.25) t = clock.tick(wall, goesOn);
  return t;
}

test("the clock follows, stops, plays slowly, and comes back to now", () => {
  const clock = new Clock();
  clock.hear(10, 100);
  assert.equal(clock.tick(101, true), 11);
  clock.toggle(101, true);
  assert.equal(clock.tick(102, true), 11);
  clock.seek(4);
  clock.speed = 0.01;
  clock.toggle(102, true);
  assert.ok(Math.abs(play(clock, 102, 103, true) - 4.01) < 1e-9);
  clock.speed = 4;
  assert.equal(play(clock, 103, 106, true), 16);
  assert.equal(clock.live, true);
  clock.rewind();
  assert.equal(clock.tick(106, true), 0);
  clock.jump();
  assert.equal(clock.tick(107, true), 17);
});

test("who is sent to a moment before the beginning sees what was only planned", () => {
  const clock = new Clock();
  clock.hear(10, 100);
  assert.equal(clock.standsAt(10), false);
  clock.seek(-30);
  assert.ok(clock.tick(101, true) < 0);
  assert.equal(clock.standsAt(-30), true);
  clock.toggle(101, true);
  assert.equal(clock.standsAt(-30), false);
  assert.ok(play(clock, 101, 102, true) > 0.9, "and does not wait for what happened before it");
});

test("two pictures that share a clock do not make it run twice as fast", () => {
  const clock = new Clock();
  clock.hear(9, 100);
  clock.rewind();
  for (const wall of [200, 200, 200.25, 200.25, 200.5, 200.5]) clock.tick(wall, false);
  assert.equal(clock.t, 0.5);
  assert.equal(clock.tick(300, false), 1, "where nobody looked it stood still");
});

test("a slow message does not hold the clock back, and at the end it shows the last thing told", () => {
  const clock = new Clock();
  clock.hear(1, 100); // told at once
  clock.hear(2, 101.5); // half a second late
  assert.equal(clock.tick(102, true), 3);
  clock.hear(2.9, 102.1);
  assert.equal(clock.tick(103, false), 2.9);
});

test("a film that is over ends, and play plays it again", () => {
  const clock = new Clock();
  clock.hear(2, 100);
  clock.rewind();
  assert.equal(play(clock, 200, 203, false), 2);
  assert.equal(clock.runs(203, false), false);
  clock.toggle(203, false);
  assert.equal(clock.tick(203.5, false), 0.5);
});

test("news is drawn at once; time that has passed, when the page has had twice as long for other things", () => {
  const pace = new Pace();
  assert.equal(pace.isDue(0, false), true);
  pace.drawn(0, 300);
  assert.deepEqual([pace.isDue(16, true), pace.isDue(16, false)], [true, false], "not painted yet");
  pace.painted(0, 10, true);
  assert.deepEqual([17, 29, 30].map((stamp) => pace.isDue(stamp, false)), [false, false, true]);
  assert.equal(pace.isDue(17, true), true);
  pace.drawn(40, 300);
  pace.painted(40, 4, true);
  assert.equal(pace.isDue(56, false), true, "what is painted quickly moves in every frame");
});

test("a recording moves in every frame where a live view leaves time for the kernel", () => {
  const pace = new Pace();
  pace.drawn(0, 300);
  pace.painted(0, 10, false);
  assert.equal(pace.isDue(16, false), true);
  pace.painted(0, 5000, true); // the page was busy with something else
  assert.equal(pace.isDue(250, false), true);
});

test("a picture of thousands of parts comes ten times a second, whatever is new", () => {
  const pace = new Pace();
  pace.drawn(0, 5000);
  pace.painted(0, 1, false);
  assert.deepEqual([99, 100].map((stamp) => pace.isDue(stamp, true)), [false, true]);
  assert.deepEqual([99, 100].map((stamp) => pace.isDue(stamp, false)), [false, true]);
});

test("what is said aloud counts changes, each once", () => {
  const before = new Map();
  const tasks = [task("a", lane(0, ["SUCCESS", 1])), task("b", lane(0, ["SUCCESS", 1])), task("c", lane(0, ["RETRY", 1]))];
  assert.equal(summary(before, tasks, 1), "2 succeeded, 1 retrying");
  assert.equal(summary(before, tasks, 2), "");
  assert.equal(summary(before, tasks.slice(1), 2), "");
  assert.deepEqual([...before.keys()], ["b", "c"], "who was dropped is not remembered");
});

test("words and axes", () => {
  assert.deepEqual([0.0123, 0.25, 61, 3600].map(duration), ["12 ms", "0.3 s", "61.0 s", "60 min"]);
  assert.equal(fit("add(1234567890, 2)", 60, 12).at(-1), "…");
  assert.equal(fit("add(1)", 60, 12), "add(1)");
  for (const end of [0.003, 0.7, 1, 9.99, 12, 4000]) {
    const [step, total] = axis(end);
    assert.ok(total >= end && total - end <= step / 2 + 1e-9 && total / step <= 6);
  }
});
