// The page: asks once a second for what is new, keeps it, and draws it.
import { Heat, Lines, element, emptySpark, sparkline } from "/charts.js";
import { PHASES, PHASE_NAMES, askForFlight, drawFlight, drawSlow } from "/slow.js";

const POLL_MS = 1000, ROWS_MAX = 200;
const $ = (id) => document.getElementById(id);

const state = {
  level: 0, boot: "", number: 0, points: [], names: {}, since: 0, slow: [], errors: [],
  latest: null, cursor: null, paused: false, sort: { key: "rate", down: true }, filter: "", offset: 0,
};
const SIZES = [300, 360, 360];

// Numbers for people.

const plain = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const known = (value) => value !== null && value !== undefined;

function digits(value) {
  return value >= 1000 ? whole.format(value) : plain.format(value);
}

function span(seconds, short = false) {
  if (!known(seconds)) return "–";
  if (seconds === 0) return short ? "0" : "0 ms";
  if (seconds < 0.001) return `${plain.format(seconds * 1e6)} µs`;
  if (seconds < 1) return `${plain.format(seconds * 1e3)} ms`;
  return `${seconds < 100 ? plain.format(seconds) : whole.format(seconds)} s`;
}

function rate(value, short = false) {
  if (!known(value)) return "–";
  if (short && value >= 10000) return `${plain.format(value / 1000)}k`;
  return value >= 100 ? whole.format(value) : value >= 0.095 || value === 0 ? plain.format(value) : value.toPrecision(1);
}

function size(bytes, short = false) {
  if (!known(bytes)) return "–";
  const [unit, name] = bytes >= 2 ** 30 ? [2 ** 30, "GiB"] : bytes >= 2 ** 20 ? [2 ** 20, "MiB"] : [1024, "KiB"];
  return short ? `${plain.format(bytes / unit)}${name[0]}` : `${plain.format(bytes / unit)} ${name}`;
}

function lasted(seconds) {
  for (const [unit, name] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (seconds >= 2 * unit) return `${Math.floor(seconds / unit)} ${name}`;
  }
  return `${Math.floor(seconds)} s`;
}

function clock(time) {
  return new Date(time * 1000).toLocaleTimeString("en-GB");
}

function cores(value, short = false) {
  return known(value) ? `${value.toFixed(2)}${short ? "" : value === 1 ? " core" : " cores"}` : "–";
}

// What changes is changed, and nothing else: text that is selected stays so.

function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// Charts.

const figures = $("charts");
function chart(kind, title, half = false) {
  const figure = element("figure", half ? { class: "half" } : {});
  figures.append(figure);
  return new kind(figure, title, moveCursor);
}
const charts = {
  rate: chart(Lines, "Requests and errors per second", true),
  heat: chart(Heat, "Response time", true),
  queue: chart(Lines, "Waiting for their turn, mean"),
  flight: chart(Lines, "In flight and busy threads"),
  conns: chart(Lines, "Open connections"),
  cpu: chart(Lines, "CPU by worker, cores"),
  memory: chart(Lines, "Resident memory by worker"),
  out: chart(Lines, "Response bytes per second"),
  cache: chart(Lines, "Requests that the cache has seen, per second"),
};

function moveCursor(to) {
  if (to !== null && typeof to === "object") {
    const last = state.points.length - 1;
    if (last < 0) return;
    const now = state.cursor === null ? last : nearest(state.cursor);
    to = state.points[Math.max(0, Math.min(last, now + to.step))].t;
  }
  state.cursor = to;
  drawCharts();
}

function nearest(time) {
  let best = 0;
  state.points.forEach((point, at) => {
    if (Math.abs(point.t - time) < Math.abs(state.points[best].t - time)) best = at;
  });
  return best;
}

function events() {
  const found = [];
  for (let at = 1; at < state.points.length; at += 1) {
    const before = state.points[at - 1], point = state.points[at];
    if (point.generation > before.generation) found.push({ t: point.t, text: `generation ${point.generation} (${clock(point.t)})` });
    if (point.deaths > before.deaths) found.push({ t: point.t, bad: true, text: `a worker died (${clock(point.t)})` });
  }
  return found;
}

function view() {
  const stepS = [1, 10, 120][state.level];
  const to = state.paused || !state.latest ? (state.points.at(-1)?.t ?? Date.now() / 1000) : state.latest.time_s;
  const points = state.points;
  const at = state.cursor === null ? points.at(-1) : points[nearest(state.cursor)];
  // A young server's charts are not mostly empty: they grow, from a part of their time to all of it.
  const most = stepS * SIZES[state.level], least = [60, 600, 7200][state.level], age = points.length ? to - points[0].t : 0;
  return { points, from: to - Math.min(most, Math.max(1, Math.ceil(age / least)) * least), to, stepS, gapS: stepS * 2.6, events: events(), at, cursor: state.cursor };
}

function workerSeries(part) {
  const places = new Map();
  for (const point of state.points) for (const [place] of point.workers) places.set(place, 0);
  return [...places.keys()].sort((one, other) => one - other).map((place, at) => ({
    name: `#${place}`, colour: `c${at % 8}`,
    pick: (point) => {
      const rows = point.workers.filter((row) => row[0] === place);
      return rows.length ? rows[0][part] : null;
    },
  }));
}

function drawCharts() {
  if (!state.points.length) return;
  const shown = view();
  const line = (name, colour, key, area = false) => ({ name, colour, area, pick: (point) => point[key] });
  charts.rate.draw(shown, [line("requests", "c0", "rate", true), line("errors", "cbad", "errors"), line("refused", "cwarn", "refused")], rate, 1);
  charts.heat.draw(shown, [line("p50", "cink", "p50"), line("p99", "c1", "p99")], span);
  charts.queue.draw(shown, [line("queue time", "c0", "queued", true)], span, 0.0005);
  charts.flight.draw(shown, [line("in flight", "c0", "flight", true), line("busy threads", "c2", "busy"), line("queued", "c1", "waiting")], rate, 2);
  charts.conns.draw(shown, [line("open", "c0", "conns", true)], rate, 2);
  charts.cpu.draw(shown, workerSeries(2), cores, 0.1);
  charts.memory.draw(shown, workerSeries(3), size, 2 ** 20, true);
  const cached = state.points.some((point) => known(point.asked));
  charts.cache.plot.parentNode.hidden = !cached;
  if (cached) charts.cache.draw(shown, [line("seen", "c1", "asked"), line("answered", "c0", "found", true)], rate, 1);
  charts.out.draw(shown, [line("bytes", "c0", "out", true)], size, 1024, true);
}

// Figures and verdict.

const tiles = new Map();
function tile(key, name) {
  const value = element("dd"), box = element("div", {}, element("dt", {}, name), value);
  $("figures").append(box);
  tiles.set(key, { value, box });
}
for (const [key, name] of [["rate", "Requests"], ["p50", "p50"], ["p99", "p99"], ["errors", "Errors"], ["flight", "In flight"], ["queue", "Queue time"], ["cpu", "CPU"], ["conns", "Connections"], ["cache", "Cache hits"]]) tile(key, name);

function show(key, text, bad = false) {
  const { value, box } = tiles.get(key);
  const space = text.indexOf(" "), cut = space < 0 ? text.length : space;
  const [number, unit] = [text.slice(0, cut), text.slice(cut + 1)];
  if (value.dataset.text !== text) {
    value.dataset.text = text;
    value.replaceChildren(number, element("span", { class: "unit" }, unit));
  }
  box.classList.toggle("bad", bad);
}

function drawFigures({ now, server, workers }) {
  const one = now.count > 0;
  show("rate", `${rate(now.rate)} /s`);
  show("p50", one ? span(now.p50_s) : "–");
  show("p99", one ? span(now.p99_s) : "–");
  show("errors", `${rate(now.error_rate)} /s`, now.error_rate > 0.01 * Math.max(now.rate, 1e-9) && now.error_rate > 0);
  show("flight", `${now.in_flight} in ${now.threads_max} threads`);
  show("queue", one ? span(now.queued_s) : "–");
  show("cpu", known(now.cpu) ? cores(now.cpu) : "–");
  show("conns", whole.format(now.connections));
  tiles.get("cache").box.hidden = !now.cache;
  if (now.cache) show("cache", known(now.cache.hit_rate) ? `${Math.round(100 * now.cache.hit_rate)} % of ${rate(now.cache.rate)}/s` : "–");
  const stuck = workers.some((worker) => worker.stuck), failing = now.error_rate > 0.01 * now.rate && now.error_rate > 0;
  const waits = now.count && now.queued_s > 0.1;
  $("verdict").dataset.mood = stuck || !workers.length ? "bad" : failing || waits ? "warn" : "good";
  put($("verdict").querySelector(".text"), now.verdict);
  put($("server"), `process ${server.pid} · ${server.state} · generation ${server.generation} · ${workers.length} ${workers.length === 1 ? "worker" : "workers"} · up ${lasted(server.age_s)} · ${server.version}`);
  document.title = `${rate(now.rate)}/s · vivace`;
}

// Routes.

const rows = new Map();
function routeRow(name) {
  const made = { row: element("tr"), cells: {} };
  const cell = (key, kind = "") => {
    made.cells[key] = element("td", kind ? { class: kind } : {});
    made.row.append(made.cells[key]);
    return made.cells[key];
  };
  cell("name", "text name").textContent = name;
  made.lane = element("span", { class: "lane" });
  cell("lane", "text wide").append(made.lane);
  cell("rate");
  made.spark = emptySpark();
  cell("spark", "text spark").append(made.spark);
  cell("p50_s", "wide");
  cell("p99_s");
  cell("error_rate");
  made.bar = element("span", { class: "bar", "aria-hidden": "true" }, ...PHASES.map((phase) => element("i", { class: phase })));
  made.spent = element("span");
  cell("time_share", "text wide").append(element("span", { class: "spent" }, made.bar, made.spent));
  cell("count", "wide");
  return made;
}

function drawRoutes(routes) {
  const { key, down } = state.sort;
  const wanted = routes.filter((route) => route.name.toLowerCase().includes(state.filter));
  const value = (route) => (key === "name" || key === "lane" ? route[key] : route[key] ?? -1);
  wanted.sort((one, other) => {
    const [a, b] = [value(one), value(other)];
    const order = a < b ? -1 : a > b ? 1 : 0;
    return (down ? -order : order) || other.count - one.count || (one.name < other.name ? -1 : 1);
  });
  const numbers = new Map(Object.entries(state.names).map(([number, name]) => [name, number]));
  const body = $("routes").tBodies[0];
  const kept = new Set();
  wanted.slice(0, ROWS_MAX).forEach((route, at) => {
    kept.add(route.name);
    let made = rows.get(route.name);
    if (!made) rows.set(route.name, (made = routeRow(route.name)));
    fillRoute(made, route, numbers.get(route.name));
    if (body.rows[at] !== made.row) body.insertBefore(made.row, body.rows[at] || null);
  });
  for (const [name, made] of rows) if (!kept.has(name)) { made.row.remove(); rows.delete(name); }
  $("no-routes").hidden = routes.length > 0;
}

function fillRoute(made, route, number) {
  const { cells } = made;
  put(made.lane, route.lane || "–");
  made.lane.className = `lane ${route.lane}`;
  put(cells.rate, rate(route.rate ?? 0));
  put(cells.p50_s, route.rate ? span(route.p50_s) : "–");
  put(cells.p99_s, route.rate ? span(route.p99_s) : "–");
  put(cells.error_rate, rate(route.error_rate ?? 0));
  cells.error_rate.classList.toggle("bad", route.error_rate > 0);
  put(cells.count, whole.format(route.count));
  put(made.spent, rate(route.time_share ?? 0));
  PHASES.forEach((phase, at) => { made.bar.children[at].style.width = `${100 * (route.shares?.[phase] ?? 0)}%`; });
  made.bar.parentNode.title = PHASES.map((phase) => `${PHASE_NAMES[phase]} ${Math.round(100 * (route.shares?.[phase] ?? 0))}%`).join(", ");
  if (route.waits) {
    const waits = Object.entries(route.waits).sort((one, other) => other[1] - one[1]).filter(([, share]) => share >= 0.01);
    made.bar.parentNode.title += `. In the application: ${waits.map(([cause, share]) => `${cause} ${Math.round(100 * share)}%`).join(", ")}`;
  }
  const points = state.points.slice(-120);
  sparkline(made.spark, points.length > 1 ? points.map((point) => (number === undefined ? 0 : point.routes[number] || 0)) : [0, 0]);
}

function sortBy(key) {
  const same = state.sort.key === key;
  state.sort = { key, down: same ? !state.sort.down : !["name", "lane"].includes(key) };
  markSort();
  if (state.latest) drawRoutes(state.latest.routes);
}

function markSort() {
  for (const head of document.querySelectorAll("#routes th[data-key]")) {
    if (head.dataset.key === state.sort.key) head.setAttribute("aria-sort", state.sort.down ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  }
}

// Lists.

function drawWorkers(workers, listeners) {
  const body = $("workers").tBodies[0];
  body.replaceChildren(...workers.map((worker) => {
    const cell = (text, kind = "") => element("td", kind ? { class: kind } : {}, text);
    const said = worker.stuck ? "stuck" : worker.state;
    const row = element("tr", {}, cell(`#${worker.place} ${worker.pid}`), cell(said, worker.stuck ? "text bad" : "text"),
      cell(known(worker.cpu) ? worker.cpu.toFixed(2) : "–"), cell(size(worker.memory)), cell(`${worker.threads_busy} / ${worker.threads_max}`),
      cell(whole.format(worker.connections)), cell(span(worker.gil_wait_s), "wide"), cell(span(worker.lag_s), "wide"));
    if (worker.stuck) row.title = worker.why_stuck;
    return row;
  }));
  put($("listeners"), listeners.filter((one) => known(one.queue)).map((one) => `${one.address}: ${one.queue} of ${one.backlog} wait to be accepted`).join(" · "));
}

function drawAdaptive(workers) {
  $("adaptive").replaceChildren(...workers.filter((worker) => worker.adaptive).map(({ place, threads_max, adaptive, trials }) => {
    const limit = known(adaptive.wait_limit_s) ? `, waits up to ${span(adaptive.wait_limit_s)}` : "";
    const counts = `${trials.tried} tried, ${trials.kept} kept, ${trials.undone} taken back`;
    return element("p", {}, `#${place} adapts: ${threads_max} threads, switch interval ${span(adaptive.switch_interval_s)}${limit} · ${counts}${adaptive.news && ` · ${adaptive.news}`}`);
  }));
}

function drawErrors() {
  const same = new Map();  // by text: newest first, so the first one is the last that happened
  for (const row of state.errors) same.set(row.text, [...(same.get(row.text) || []), row]);
  const open = new Set([...$("errors").querySelectorAll("details[open]")].map((one) => one.dataset.text));
  $("errors").replaceChildren(...[...same].slice(0, 10).map(([text, [row, ...others]]) => {
    const lines = text.trimEnd().split("\n");
    const made = element("details", { "data-text": text }, element("summary", {}, element("span", { class: "when" }, clock(row.time_s)), lines.at(-1),
      element("span", { class: "what" }, others.length ? `${lines[0]} · ${others.length + 1} times since ${clock(others.at(-1).time_s)}` : lines[0])),
      element("pre", { tabindex: "0" }, lines.slice(1).join("\n")));
    made.open = open.has(text);
    return made;
  }));
  $("no-errors").hidden = state.errors.length > 0;
}

// Asking.

function take(found) {
  state.boot = found.boot;
  state.number = found.number;
  Object.assign(state.names, found.names);
  state.points = state.points.concat(found.points).slice(-SIZES[state.level]);
  if (!found.now) return;
  if (found.slow.length) state.slow = found.slow.concat(state.slow).slice(0, 12);
  if (found.errors.length) state.errors = found.errors.concat(state.errors).slice(0, 100);
  for (const row of found.slow) state.since = Math.max(state.since, row.ended_s);
  for (const row of found.errors) state.since = Math.max(state.since, row.time_s);
  state.latest = found;
}

function draw(found) {
  $("logout").hidden = !found.login;
  drawCharts();
  if (!found.now) return;
  drawFigures(found);
  drawRoutes(found.routes);
  drawWorkers(found.workers, found.listeners);
  drawAdaptive(found.workers);
  drawFlight(found.workers, span);
  if (found.slow.length || !state.slow.length) drawSlow(state.slow, span, clock);
  if (found.errors.length || !state.errors.length) drawErrors();
}

async function ask() {
  if (state.paused || document.hidden) return;
  const level = state.level;
  try {
    const answer = await fetch(`/history.json?level=${level}&after=${state.number}&since=${state.since}`, { cache: "no-store" });
    if (answer.status === 401) { location.href = "/login"; return; }
    if (!answer.ok) throw new Error(`${answer.status}`);
    const found = await answer.json();
    if (level !== state.level) return;
    if (found.boot !== state.boot && state.number > 0) {  // another admin process: its past begins anew
      Object.assign(state, { boot: found.boot, number: 0, points: [], names: {}, since: 0, slow: [], errors: [] });
      return;
    }
    await askForFlight();
    take(found);
    draw(found);
    document.body.dataset.ready = "yes";
  } catch (error) {
    $("verdict").dataset.mood = "bad";
    put($("verdict").querySelector(".text"), "The admin address does not answer; asking again.");
  }
}

async function askForEver() {
  const began = performance.now();
  await ask();
  setTimeout(askForEver, Math.max(200, POLL_MS - (performance.now() - began)));
}

// Controls.

for (const button of document.querySelectorAll("[data-level]")) {
  button.addEventListener("click", () => {
    for (const each of document.querySelectorAll("[data-level]")) each.setAttribute("aria-pressed", String(each === button));
    Object.assign(state, { level: +button.dataset.level, number: 0, points: [], names: {}, cursor: null });
    ask();
  });
}
$("pause").addEventListener("click", () => {
  state.paused = !state.paused;
  $("pause").setAttribute("aria-pressed", String(state.paused));
  put($("pause"), state.paused ? "Go on" : "Pause");
});
function nameTheme() { put($("theme"), document.documentElement.dataset.theme === "dark" ? "Light" : "Dark"); }
$("theme").addEventListener("click", () => { window.switchTheme(); drawCharts(); });
$("filter").addEventListener("input", () => { state.filter = $("filter").value.toLowerCase(); if (state.latest) drawRoutes(state.latest.routes); });
for (const head of document.querySelectorAll("#routes th[data-key]")) head.querySelector("button").addEventListener("click", () => sortBy(head.dataset.key));
addEventListener("resize", drawCharts);
document.addEventListener("visibilitychange", ask);
new MutationObserver(nameTheme).observe(document.documentElement, { attributeFilter: ["data-theme"] });
nameTheme();
markSort();
askForEver();
