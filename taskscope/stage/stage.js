// The live view: one loop over a pure model. It hears the kernel and never asks it anything, so it works while a cell blocks.
import STATES from "../states.json" with { type: "json" };
import { Clock, Pace, Reel, lookOf, moment, summary } from "./model.mjs";
import { VIEWS, scene } from "./scenes.mjs";

const SVG = "http://www.w3.org/2000/svg";
const SPEEDS = [0.01, 0.03, 0.1, 0.3, 1, 2, 4];
const TABS = [...VIEWS.slice(0, 2).map((view) => [view, view, "attempt"]), ["slots", "lanes", "slot"], ...VIEWS.slice(2).map((view) => [view, view, "attempt"])];
const tabOf = (view, by) => (view === "lanes" && by === "slot" ? "slots" : view);
const ICONS = { play: "M4 2 13 8 4 14Z", pause: "M4 2H7V14H4Z M9 2H12V14H9Z", rewind: "M3 2H5V14H3Z M14 2 6 8 14 14Z" };
const RECT = { cls: "class", x: "x", y: "y", w: "width", h: "height", r: "rx" };
const ATTRIBUTES = {
  rect: Object.entries(RECT), path: Object.entries({ cls: "class", d: "d" }), text: Object.entries({ cls: "class", x: "x", y: "y", anchor: "text-anchor" }),
};
const MOVEMENT = 200; // milliseconds
const FRESH = 2000; // milliseconds for which a token that does not move is outlined after a change
const NAMED = 2000; // milliseconds for which a running token keeps its name: a screen reader says each change of it
const seconds = () => performance.now() / 1000;

function make(tag, attributes = {}, ...children) {
  const el = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) el.setAttribute(name, value);
  el.append(...children); // strings become text, never markup
  return el;
}

function shape(tag, attributes = {}) {
  const el = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) el.setAttribute(name, value);
  return el;
}

/** Draws scenes into an SVG: an element lives as long as its key, and only what changed is touched. */
class Canvas {
  constructor(svg) {
    this.svg = svg;
    this.layers = [shape("g"), shape("g")]; // what moves lies above what stands
    svg.append(...this.layers);
    this.drawn = new Map();
    this.round = 0;
    this.moving = new Map();
    this.still = true; // nothing moves
    this.marks = false; // and what would have moved gets an outline for a while
    this.runs = false; // time goes on, so a name may wait
    this.size = [];
    this.stop = null; // the one token that the Tab key comes to
  }

  draw({ items, height, width }) {
    this.round += 1;
    if (this.size[0] !== width) this.svg.setAttribute("width", width);
    if (this.size[1] !== height) this.svg.setAttribute("height", height);
    this.size = [width, height];
    for (const item of items) {
      let one = this.drawn.get(item.key);
      if (!one || one.item.tag !== item.tag) {
        one?.el.remove();
        one = { el: shape(item.tag === "disc" ? "g" : item.tag), item: { tag: item.tag } };
        this.layers[item.tag === "disc" ? 1 : 0].append(one.el);
        this.drawn.set(item.key, one);
      }
      if (item.tag === "disc") this.disc(one, item);
      else {
        for (const [name, attribute] of ATTRIBUTES[item.tag]) if (one.item[name] !== item[name]) one.el.setAttribute(attribute, item[name]);
        if (one.item.text !== item.text) one.el.textContent = item.text;
      }
      one.item = item;
      one.round = this.round;
    }
    let orphan = null;
    for (const [key, one] of this.drawn)
      if (one.round !== this.round) {
        if (one.el === document.activeElement) orphan = one.item;
        one.el.remove();
        this.drawn.delete(key);
      }
    if (orphan) this.nearest((x, y) => Math.hypot(x - orphan.x, y - orphan.y))?.focus({ preventScroll: true });
    if (!this.stop?.isConnected) this.stopAt(this.tokens()[0]?.el);
  }

  tokens() {
    return [...this.drawn.values()].filter((one) => one.item.tag === "disc");
  }

  /** Make a token the one that the Tab key comes to; from there the arrows go on. */
  stopAt(el) {
    this.stop?.setAttribute("tabindex", -1);
    el?.setAttribute("tabindex", 0);
    this.stop = el ?? null;
  }

  keyOf(el) {
    return [...this.drawn].find(([, one]) => one.el === el)?.[0];
  }

  disc(one, item) {
    const { el, item: before } = one;
    if (before.x !== item.x || before.y !== item.y) {
      const from = this.moving.get(el)?.at ?? [before.x, before.y];
      if (this.still || before.x === undefined) this.place(el, [item.x, item.y]);
      else this.moving.set(el, { from, to: [item.x, item.y], at: from, begun: performance.now() });
    }
    const looks = before.state !== item.state || before.cls !== item.cls || before.r !== item.r || before.label !== item.label;
    if (looks) {
      const look = lookOf(item.state);
      el.setAttribute("class", `token s-${look} ${item.cls}${item.r < 4 ? " tiny" : ""}`);
      const ring = [shape("circle", { r: item.r, class: "ring" })];
      if (/double|contradicted/.test(item.cls)) ring.push(shape("circle", { r: item.r + 3, class: "outer" }));
      const glyph = STATES[look].path;
      if (glyph && item.r >= 5) ring.push(shape("path", { d: glyph, class: glyph.endsWith("Z") ? "glyph solid" : "glyph", transform: `scale(${item.r / 8})` }));
      const label = shape("text", { x: item.r + 6, y: 4 });
      label.textContent = item.label;
      el.replaceChildren(shape("title"), ...ring, ...(item.label ? [label] : []));
      for (const name of ["uuid", "state", "attempt", "mark"]) if (name in item) el.setAttribute(`data-${name}`, item[name]);
      if (!("tabindex" in el.attributes)) for (const [name, value] of [["tabindex", -1], ["role", "img"]]) el.setAttribute(name, value);
      if (this.marks && before.state && before.state !== item.state) {
        el.setAttribute("data-fresh", ""); // in place of the movement
        clearTimeout(one.fresh);
        one.fresh = setTimeout(() => el.removeAttribute("data-fresh"), FRESH);
      }
    }
    if (looks || (one.name !== item.name && !(this.runs && performance.now() < one.named + NAMED))) {
      el.setAttribute("aria-label", item.name);
      el.firstChild.textContent = item.name;
      [one.name, one.named] = [item.name, performance.now()];
    }
  }

  place(el, [x, y]) {
    el.setAttribute("transform", `translate(${x.toFixed(1)} ${y.toFixed(1)})`);
  }

  /** Move what moves: by hand, because the browser would give every token that it animates a layer of its own. */
  move() {
    const now = performance.now();
    for (const [el, way] of this.moving) {
      const part = Math.min(1, (now - way.begun) / MOVEMENT);
      const eased = 1 - (1 - part) ** 3;
      way.at = way.from.map((from, axis) => from + (way.to[axis] - from) * eased);
      this.place(el, way.at);
      if (part === 1 || !el.isConnected) this.moving.delete(el);
    }
  }

  /** Move the focus to the nearest token in a direction. */
  step(from, dx, dy) {
    const here = this.drawn.get(this.keyOf(from))?.item;
    this.nearest((x, y) => {
      const along = (x - here.x) * dx + (y - here.y) * dy;
      return along > 0.5 ? along + 3 * Math.abs((x - here.x) * dy + (y - here.y) * dx) : Infinity;
    })?.focus();
  }

  nearest(away) {
    let [best, least] = [null, Infinity];
    for (const { el, item } of this.tokens()) {
      const far = away(item.x, item.y);
      if (far < least) [best, least] = [el, far];
    }
    return best;
  }
}

const COLUMNS = ["task", "attempt", "state", "sent", "received", "started", "ended", "worker", "slot", "result"];
const HOW = { o: "", i: " (inferred)", c: " (contradicted)" };

function rowsOf(tasks, t) {
  const rows = [];
  for (const task of tasks)
    for (const lane of task.lanes) {
      const marks = lane.marks.filter((mark) => mark[1] <= t);
      if (!marks.length) continue;
      const at = (wanted) => marks.find((mark) => wanted(mark[0]))?.[1].toFixed(3) ?? "";
      const [state, , how] = marks.at(-1);
      const ended = at((one) => ["RETRY", "SUCCESS", "FAILURE", "REVOKED"].includes(one));
      const times = ["PENDING", "RECEIVED", "STARTED"].map((name) => at((one) => one === name));
      const result = ["SUCCESS", "FAILURE", "REVOKED"].includes(state) ? task.result : "";
      rows.push([task.label, lane.attempt + 1, `${STATES[lookOf(state)].glyph} ${state}${HOW[how]}`, ...times, ended, lane.host, lane.slot ?? "", result].map(String));
    }
  return rows;
}

// What the bars of the lanes mean, below them while no token is asked; the height of each is that in the picture.
const BARS = { waiting: ["in the queue", 3], reserved: ["with the worker", 7], running: ["runs", 16], backoff: ["waits for its next attempt", 10] };

function barsOf(kinds) {
  return kinds.flatMap((kind) => {
    const [words, height] = BARS[kind];
    const bar = { x: 1, y: 8 - height / 2, width: 16, height };
    const swatch = shape("svg", { width: 18, height: 16 });
    swatch.append(shape("rect", { class: kind, ...bar }));
    if (kind === "backoff") swatch.append(shape("path", { class: "hatch", d: "M2 13 8 3 M9 13 15 3" }));
    return make("span", { class: "ts-bars" }, swatch, words);
  });
}

function button(name, title, ...children) {
  return make("button", { type: "button", class: `ts-${name}`, title, "aria-label": title }, ...children);
}

function icon(name) {
  const svg = shape("svg", { viewBox: "0 0 16 16", width: 12, height: 12, "aria-hidden": "true" });
  svg.append(shape("path", { d: ICONS[name], fill: "currentColor" }));
  return svg;
}

function show({ model, el, reel, clock }) {
  // A notebook may draw the same output anew: the reader's choice stays.
  let [view, by] = reel.choice ?? [model.get("view"), model.get("by")];
  let [isTable, isStillWanted] = [reel.isTable ?? false, false];
  let [scrolled, focused] = [reel.scrolled ?? 0, reel.focused ?? null]; // to be there again once there is something
  const reduced = matchMedia("(prefers-reduced-motion: reduce)");
  const svg = shape("svg", { role: "group", "aria-label": "tasks" });
  const canvas = new Canvas(svg);
  const scroller = make("div", { class: "ts-scroll", role: "tabpanel" }, svg);
  const body = make("tbody");
  const caption = make("caption"); // what is said below the pictures: that not all is shown, that something may have been missed
  const told = make("div", { class: "ts-told", "aria-hidden": "true" }); // the name of the token under the pointer, or in focus
  const table = make("div", { class: "ts-table", hidden: "" }, make("table", {}, caption, make("thead", {}, make("tr", {}, ...COLUMNS.map((name) => make("th", { scope: "col" }, name)))), body));
  const tabs = TABS.map(([name]) => make("button", { type: "button", role: "tab", "data-tab": name }, name));
  const [tableSwitch, motionSwitch] = [button("switch", "the same as a table, which can be copied", "table"), button("switch", "nothing moves", "no motion")];
  const [rewind, play] = [button("icon", "from the beginning", icon("rewind")), button("icon", "pause or play (space)", icon("pause"))];
  const range = make("input", { type: "range", min: 0, step: "any", "aria-label": "time" });
  const time = make("output", { class: "ts-time" });
  const speed = make("select", { "aria-label": "speed", title: "speed" }, ...SPEEDS.map((x) => make("option", { value: x }, x < 1 ? `1/${Math.round(1 / x)}×` : `${x}×`)));
  const then = button("switch", "the moment at which its cell had run", "then");
  const live = button("live", "jump to what is happening now", "live");
  const log = make("div", { class: "ts-log", role: "log", "aria-live": "polite" });
  const gap = make("span", { class: "ts-gap", hidden: "" }, "catching up…");
  const root = make(
    "div", { class: "taskscope", "data-lm-suppress-shortcuts": "true", role: "region", "aria-label": "taskscope" },
    make("div", { class: "ts-bar" }, make("div", { class: "ts-tabs", role: "tablist" }, ...tabs), gap, tableSwitch, motionSwitch),
    scroller, told, table,
    make("div", { class: "ts-bar", role: "toolbar", "aria-label": "time" }, rewind, play, range, time, speed, then, live), log,
  );
  el.append(root);
  speed.value = clock.speed;

  const choose = (name) => {
    [, view, by] = TABS.find(([tab]) => tab === name) ?? TABS[0];
    reel.choice = [view, by];
    changed();
  };
  const changed = () => {
    root.dataset.view = view;
    scroller.setAttribute("aria-label", view);
    for (const tab of tabs) {
      const isMine = tab.dataset.tab === tabOf(view, by);
      tab.setAttribute("aria-selected", String(isMine));
      tab.setAttribute("tabindex", isMine ? 0 : -1);
      const asksForAll = ["stage", "slots"].includes(tab.dataset.tab) && !model.get("whole");
      const isFirst = tab.dataset.tab === tabOf(model.get("view"), model.get("by"));
      tab.hidden = !isMine && !isFirst && (asksForAll || (tab.dataset.tab === "graph" && !reel.film.graphs.length) || (tab.dataset.tab === "xray" && !reel.film.xray));
    }
    reel.isTable = isTable;
    scroller.hidden = told.hidden = isTable;
    table.hidden = !isTable;
    tableSwitch.setAttribute("aria-pressed", String(isTable));
    motionSwitch.setAttribute("aria-pressed", String(isStillWanted));
    root.classList.toggle("ts-still", isStillWanted);
    canvas.marks = isStillWanted;
    last.version = -1;
  };
  const setStill = (isStill) => {
    isStillWanted = isStill;
    changed();
  };

  // What the loop remembers of its last round: it draws only what can have changed.
  const last = { version: -1, t: -1, width: 0, now: 0, settled: Infinity, spoken: 0, listed: 0, told: -1, controlled: 0, memo: null, bars: new Set(), stood: null, said: "" };
  const pace = new Pace();
  const rendered = new MessageChannel();
  rendered.port1.onmessage = ({ data }) => pace.painted(data, performance.now() - data, clock.live);
  const draw = (stamp) => {
    const { film, version } = reel;
    const { width } = last;
    const t = clock.tick(seconds(), film.live);
    const stands = clock.standsAt(reel.then); // of that moment there is more to tell than of any other
    if (stands !== last.stood) last.version = -1; // what is remembered of its scene is of other workers, and of another now
    if (version !== last.version) {
      last.memo = {};
      const spans = film.tasks.flatMap((task) => task.lanes.flatMap((lane) => lane.spans));
      const open = spans.some((span) => span[2] === null);
      last.bars = new Set(spans.map(([kind]) => kind));
      last.settled = open ? Infinity : film.tasks.reduce((end, task) => task.lanes.reduce((late, lane) => Math.max(late, lane.marks.at(-1)?.[1] ?? 0), end), 0);
    }
    // After the last mark of a film in which nothing is open, time changes nothing.
    const isNew = version !== last.version || (t !== last.t && Math.min(t, last.t) < last.settled);
    const now = stands && last.settled <= reel.then ? t : clock.now(seconds(), film.live);
    if (!isNew) {
      if (t !== last.told && stamp >= last.controlled + 100) controls(stamp, t, now); // the clock goes on all the same
      speak(stamp, t);
    }
    if (!isNew || !pace.isDue(stamp, version !== last.version)) return;
    last.now = now;
    canvas.runs = clock.runs(seconds(), film.live);
    const isDrawn = isTable ? list(stamp, t) : drawScene(scene({ ...film, now, memo: last.memo, ...(stands ? { ...reel.partsThen, now: t } : {}) }, view, t, width, by));
    tell();
    Object.assign(root.dataset, { transitions: reel.received, seq: reel.seq, t: t.toFixed(3) });
    controls(stamp, t, now);
    speak(stamp, t);
    if (isDrawn) Object.assign(last, { version, t, stood: stands });
    pace.drawn(stamp, canvas.drawn.size);
    rendered.port2.postMessage(stamp); // heard when the browser has painted, too
  };
  const drawScene = (shapes) => {
    canvas.draw(shapes);
    if (scrolled && svg.clientHeight > scrolled) [scroller.scrollTop, scrolled] = [scrolled, 0];
    if (focused && document.activeElement === document.body) canvas.drawn.get(focused)?.el.focus({ preventScroll: true });
    if (canvas.drawn.has(focused)) focused = null;
    return true;
  };
  const controls = (stamp, t, now) => {
    Object.assign(last, { told: t, controlled: stamp });
    const runs = clock.runs(seconds(), reel.film.live);
    const state = runs ? "pause" : "play";
    if (play.dataset.icon !== state) {
      play.replaceChildren(icon(state));
      play.dataset.icon = state;
    }
    root.classList.toggle("ts-paused", !runs);
    gap.hidden = !reel.gap;
    then.hidden = reel.then === null || last.settled <= reel.then;
    then.setAttribute("aria-pressed", String(clock.standsAt(reel.then)));
    live.hidden = !reel.film.live && t >= Math.min(now, last.settled);
    const word = reel.film.live ? "live" : "end";
    if (live.textContent !== word) {
      live.textContent = word;
      for (const name of ["title", "aria-label"]) live.setAttribute(name, reel.film.live ? "jump to what is happening now" : "jump to the end");
    }
    live.setAttribute("aria-pressed", String(clock.live));
    range.max = Math.max(now, 0.001);
    range.value = t;
    time.value = `${Math.max(0, t).toFixed(2)} s of ${now.toFixed(2)} s`;
  };
  let asked = null; // the token whose name is told
  const tell = () => {
    const name = (asked?.isConnected && asked.getAttribute("aria-label")) || "";
    const kinds = name || view !== "lanes" || by !== "attempt" ? [] : Object.keys(BARS).filter((kind) => last.bars.has(kind));
    const wanted = name || kinds.join();
    if (told.dataset.of === wanted) return;
    told.dataset.of = wanted;
    told.replaceChildren(...(name ? [name] : barsOf(kinds)));
  };
  const ask = (target) => {
    asked = target.closest(".token") ?? document.activeElement.closest(".taskscope .token");
    tell();
  };
  const speak = (stamp, t) => {
    if (stamp < last.spoken + 2000 || last.said === `${reel.version} ${t}`) return;
    last.said = `${reel.version} ${t}`;
    const said = summary(reel.told, reel.film.tasks, t);
    if (said) log.replaceChildren(make("p", {}, said));
    last.spoken = performance.now(); // a frame can begin long before it gets here
  };
  const list = (stamp, t) => {
    const selection = getSelection();
    if (stamp < last.listed + 500 || (selection && !selection.isCollapsed && table.contains(selection.anchorNode))) return false; // somebody copies
    last.listed = stamp;
    const { shown, of, notes } = reel.film;
    caption.replaceChildren(...[shown < of ? `showing ${shown} of ${of} tasks` : "", ...notes].filter(Boolean).map((note) => make("div", {}, note)));
    const rows = rowsOf(reel.film.tasks, t);
    while (body.rows.length > rows.length) body.deleteRow(-1);
    // Only what is new is written: a screen reader stays where it reads.
    rows.forEach((cells, number) => {
      const row = body.rows[number] ?? body.appendChild(make("tr", {}, ...cells.map(() => make("td"))));
      cells.forEach((cell, column) => {
        if (row.cells[column].textContent !== cell) row.cells[column].textContent = cell;
      });
    });
    return true;
  };
  let frame = 0;
  const loop = (stamp) => {
    frame = requestAnimationFrame(loop);
    if (!isSeen || !last.width) return;
    for (const other of reel.shown) if (other.root !== root && !other.root.isConnected) other.end(); // this one was drawn in its place
    canvas.still = isStillWanted || view !== "stage";
    draw(stamp);
    canvas.move();
  };

  const redraw = () => (last.version = -1);
  const toggle = () => clock.toggle(seconds(), reel.film.live);
  const act = (element, what, type = "click") => element.addEventListener(type, () => (what(), redraw()));
  for (const tab of tabs) act(tab, () => choose(tab.dataset.tab));
  act(tableSwitch, () => ((isTable = !isTable), (last.listed = 0), changed()));
  act(motionSwitch, () => setStill((reel.isStill = !isStillWanted)));
  act(rewind, () => clock.rewind());
  act(play, () => toggle());
  act(live, () => ((clock.speed = speed.value = 1), clock.jump()));
  act(then, () => clock.seek(reel.then));
  act(range, () => clock.seek(Number(range.value)), "input");
  act(speed, () => {
    clock.speed = Number(speed.value);
    if (clock.live) clock.seek(clock.t), toggle(); // from here on at another speed
  }, "change");
  svg.addEventListener("pointerover", ({ target }) => ask(target));
  svg.addEventListener("pointerleave", () => ask(document.activeElement));
  root.addEventListener("focusin", ({ target }) => {
    ask(target);
    reel.focused = null;
    if (!target.classList.contains("token")) return;
    reel.focused = canvas.keyOf(target);
    canvas.stopAt(target);
  });
  root.addEventListener("focusout", ({ relatedTarget }) => {
    if (relatedTarget) reel.focused = null; // somebody went elsewhere: it was not the picture that went
  });
  scroller.addEventListener("scroll", () => (reel.scrolled = scroller.scrollTop), { passive: true });
  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  root.addEventListener("keydown", (event) => {
    const isToken = event.target.classList.contains("token");
    if (isToken && event.key in ARROWS) canvas.step(event.target, ...ARROWS[event.key]);
    else if (event.target.role === "tab" && ["ArrowLeft", "ArrowRight"].includes(event.key)) turn(event.target, ARROWS[event.key][0]);
    else if (event.key === " " && !["BUTTON", "SELECT"].includes(event.target.tagName)) toggle(), redraw();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  /** Go on to the next of the tabs that are there, from the last one to the first. */
  const turn = (from, by) => {
    const there = tabs.filter((tab) => !tab.hidden);
    const tab = there[(there.indexOf(from) + by + there.length) % there.length];
    choose(tab.dataset.tab);
    tab.focus();
  };
  const onReduced = () => setStill(reduced.matches);
  reduced.addEventListener("change", onReduced);
  // Asking for a width forces a layout, so it is told, and only when it changes.
  const resized = new ResizeObserver(([{ contentRect }]) => ((last.width = Math.max(320, Math.floor(contentRect.width))), redraw()));
  resized.observe(scroller);
  let isSeen = true;
  const visible = new IntersectionObserver((entries) => (isSeen = entries.at(-1).isIntersecting));
  visible.observe(root);
  const onView = () => (([view, by] = [model.get("view"), model.get("by")]), changed());
  for (const name of ["change:view", "change:by"]) model.on(name, onView);
  reel.listeners.add(changed);
  setStill(reel.isStill ?? reduced.matches);
  frame = requestAnimationFrame(loop);
  /** Tell the kernel that one more looks, or one less; where there is none any more nobody has to know. */
  const look = (more) => {
    try {
      model.send({ more });
    } catch {}
  };
  const end = () => {
    if (reel.shown.delete(mine)) look(-1);
    cancelAnimationFrame(frame);
    reduced.removeEventListener("change", onReduced);
    for (const name of ["change:view", "change:by"]) model.off(name, onView);
    resized.disconnect();
    visible.disconnect();
    reel.listeners.delete(changed);
    rendered.port1.close();
    root.remove();
  };
  const mine = { root, end };
  reel.shown.add(mine);
  look(1);
  return end;
}

// A function, so that each model has a reel of its own, which its views share.
export default () => {
  const reel = Object.assign(new Reel(), { listeners: new Set(), shown: new Set(), told: new Map(), then: null, partsThen: {}, isPast: false });
  const clock = new Clock();
  // Before anything has happened there is no time that would pass.
  const hear = (now) => reel.film.origin !== null && clock.hear(now, seconds());
  return {
    initialize({ model }) {
      const changed = () => {
        for (const listener of reel.listeners) listener();
      };
      const keyframe = () => {
        if (!reel.keyframe(JSON.parse(model.get("film")))) return;
        hear(reel.film.now);
        stepBack();
        changed();
      };
      /** Once a later cell has another picture, this one shows the moment that the text below it tells of. */
      const stepBack = () => {
        const { origin } = reel.film;
        reel.then = origin === null || model.get("then") === null ? null : model.get("then") - origin;
        reel.partsThen = JSON.parse(model.get("parts_then"));
        if (reel.then === null || reel.isPast || !model.get("is_past")) return;
        reel.isPast = true;
        if (!clock.live) return; // the reader has chosen a moment
        clock.seek(reel.then);
        summary(reel.told, reel.film.tasks, clock.t); // that it steps back is no news
      };
      keyframe();
      if (reel.film.replay) clock.rewind();
      model.on("change:film", keyframe);
      // Nobody feeds it any more, as after a restart of the kernel; a keyframe that comes after all says itself whether it is live.
      model.on("comm_live_update", () => {
        reel.film.live = false;
        reel.version += 1;
      });
      for (const name of ["change:then", "change:is_past"]) model.on(name, () => (stepBack(), changed()));
      model.on("msg:custom", (batch) => {
        if (!reel.batch(batch)) return;
        hear(batch.now);
        if (reel.then === null) stepBack(); // it may be the first to tell when all began
      });
    },
    render: ({ model, el }) => show({ model, el, reel, clock }),
  };
};
