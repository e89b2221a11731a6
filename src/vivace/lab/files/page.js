// Draws the charts of a result from the JSON beside it. The figures and tables are in the page already.
"use strict";
(() => {
const SVG = "http://www.w3.org/2000/svg";
const LEFT = 52, RIGHT = 12, BOTTOM = 20, TOP = 6;
const data = JSON.parse(document.getElementById("data").textContent);
const root = document.documentElement;

// Theme.
const system = matchMedia("(prefers-color-scheme: dark)");
let chosen = "";
const apply = () => {
  root.dataset.theme = chosen || (system.matches ? "dark" : "light");
  document.getElementById("theme").textContent = root.dataset.theme === "dark" ? "Light" : "Dark";
};
system.addEventListener("change", apply);
document.getElementById("theme").addEventListener("click", () => {
  chosen = root.dataset.theme === "dark" ? "light" : "dark";
  apply();
});
apply();

function drawn(parent, name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

function time(seconds) {
  const short = (value) => value >= 99.95 ? value.toFixed(0) : value >= 9.995 ? value.toFixed(1) : value.toFixed(2);
  const plain = (value) => short(value).replace(/(\.[0-9]*?)0+$/, "$1").replace(/\.$/, "");
  if (seconds < 0.001) return `${plain(seconds * 1e6)} µs`;
  return seconds < 1 ? `${plain(seconds * 1e3)} ms` : `${plain(seconds)} s`;
}
const number = (value) => value >= 100 ? Math.round(value).toLocaleString("en") : String(+value.toPrecision(3));
const clock = (seconds) => seconds < 120 ? `${+seconds.toFixed(1)} s` : seconds < 7200 ? `${+(seconds / 60).toFixed(1)} min` : `${+(seconds / 3600).toFixed(1)} h`;

function niceTop(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  for (const step of [1, 2, 2.5, 5, 10]) if (step * power >= value * 0.999) return step * power;
  return 10 * power;
}

// Scales: each has `place` (value -> 0..1) and `marks` ([value, label]).
function linear(top, format) {
  return { place: (value) => Math.min(1, value / top), marks: [0, 0.25, 0.5, 0.75, 1].map((share) => [share * top, share ? format(share * top) : "0"]) };
}
function logarithmic(low, high, format) {
  const from = Math.log10(low), span = Math.max(0.3, Math.log10(high) - from), marks = [];
  const steps = span > 3 ? [1] : span > 1.2 ? [1, 3] : [1, 2, 5];
  for (let power = Math.floor(from); power <= from + span + 1; power += 1) {
    for (const step of steps) {
      const value = step * 10 ** power, at = Math.log10(value);
      if (at >= from - 1e-9 && at <= from + span + 1e-9) marks.push([value, format(value)]);
    }
  }
  return { place: (value) => Math.max(0, Math.min(1, (Math.log10(Math.max(value, low)) - from) / span)), marks };
}
const nines = (share) => -Math.log10(1 - share);

class Chart {
  // `series`: [{name, colour, dashed, points: [[x, y], ...]}], ascending in x.
  constructor(id, series, how) {
    this.figure = document.getElementById(id);
    this.plot = this.figure.querySelector(".plot");
    this.legend = this.figure.querySelector(".legend");
    this.series = series;
    this.how = how;
    this.log = Boolean(how.log);
    this.cursor = null;
    this.svg = drawn(this.plot, "svg", { "aria-hidden": "true" });
    const toggle = this.figure.querySelector("button");
    if (toggle) toggle.addEventListener("click", () => {
      this.log = !this.log;
      toggle.textContent = this.log ? "Linear" : "Logarithmic";
      this.draw();
    });
    this.plot.addEventListener("pointermove", (event) => {
      const box = this.plot.getBoundingClientRect();
      const share = (event.clientX - box.left - LEFT) / (box.width - LEFT - RIGHT);
      this.point(share < 0 || share > 1 ? null : share);
    });
    for (const kind of ["pointerleave", "blur"]) this.plot.addEventListener(kind, () => this.point(null));
    this.plot.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -0.02, ArrowRight: 0.02 }[event.key];
      if (event.key === "Escape") this.point(null);
      if (step === undefined) return;
      event.preventDefault();
      this.point(Math.max(0, Math.min(1, (this.cursor ?? 0.5) + step)));
    });
    new ResizeObserver(() => this.draw()).observe(this.plot);
  }

  point(share) {
    this.cursor = share;
    this.draw();
  }

  draw() {
    const width = this.plot.clientWidth || 300, height = this.plot.clientHeight || 150;
    const { most, format, marks, shade } = this.how;
    const values = this.series.flatMap(({ points }) => points.map((point) => point[1])).filter((value) => value > 0);
    const high = Math.max(...values, 1e-9), low = Math.min(...values, high);
    const scale = this.log && values.length ? logarithmic(low * 0.9, high * 1.05, format) : linear(niceTop(high), format);
    const x = (value) => LEFT + (value / most) * (width - LEFT - RIGHT);
    const y = (value) => height - BOTTOM - scale.place(value) * (height - BOTTOM - TOP);
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.replaceChildren();
    if (shade) drawn(this.svg, "rect", { class: "warmup", x: LEFT, y: TOP, width: Math.max(0, x(shade) - LEFT), height: height - BOTTOM - TOP });
    for (const [value, label] of scale.marks) {
      drawn(this.svg, "line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) });
      drawn(this.svg, "text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, label);
    }
    let free = -Infinity;
    for (const [value, label] of marks) {
      if (value > most * 1.0001) continue;
      drawn(this.svg, "line", { class: "grid", x1: x(value), x2: x(value), y1: TOP, y2: height - BOTTOM });
      if (x(value) - 26 < free) continue;
      free = x(value) + 26;
      const anchor = x(value) > width - 30 ? "end" : "middle";
      drawn(this.svg, "text", { x: anchor === "end" ? width : x(value), y: height - 4, "text-anchor": anchor }, label);
    }
    for (const { colour, dashed, points } of this.series) {
      const line = points.map(([at, value], index) => `${index ? "L" : "M"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`).join("");
      drawn(this.svg, "path", { class: `series ${colour}${dashed ? " dashed" : ""}`, d: line });
    }
    const at = this.cursor === null ? null : this.cursor * most;
    if (at !== null) drawn(this.svg, "line", { class: "cursor", x1: x(at), x2: x(at), y1: TOP, y2: height - BOTTOM });
    this.say(at);
  }

  say(at) {
    const items = this.series.map(({ name, colour, dashed, points }) => {
      const item = document.createElement("li");
      item.className = colour + (dashed ? " dashed" : "");
      item.append(`${name} `);
      const found = at === null ? undefined : this.how.pick(points, at);
      if (found !== undefined) {
        const value = document.createElement("b");
        value.textContent = this.how.format(found[1]);
        item.append(value);
      }
      return item;
    });
    if (at !== null) {
      const where = document.createElement("li");
      where.className = "at";
      where.textContent = this.how.where(at);
      items.unshift(where);
    }
    this.legend.replaceChildren(...items);
  }
}

const colour = (index) => `c${index % 8}`;
const next = (points, at) => points.find((point) => point[0] >= at - 1e-9);
const near = (points, at) => points.reduce((best, point) => !best || Math.abs(point[0] - at) < Math.abs(best[0] - at) ? point : best, undefined);
const { results } = data, single = results.length === 1;

// Latency by percentile.
const curves = [];
results.forEach(({ label, curve, service }, index) => {
  const through = (points) => points.map(([share, seconds]) => [nines(share), seconds]);
  curves.push({ name: single ? "latency" : label, colour: colour(index), points: through(curve) });
  if (service.length) curves.push({ name: single ? "from the send only" : `${label}, from the send`, colour: single ? "c1" : colour(index), dashed: true, points: through(service) });
});
new Chart("by-percentile", curves, {
  most: Math.max(1, ...curves.flatMap(({ points }) => points.map((point) => point[0]))), format: time, log: true, pick: next,
  marks: [[0, "0"], [nines(0.5), "50%"], [1, "90%"], [2, "99%"], [3, "99.9%"], [4, "99.99%"], [5, "99.999%"], [6, "99.9999%"]],
  where: (at) => `${+((1 - 10 ** -at) * 100).toPrecision(at > 4 ? 8 : at > 2 ? 6 : 4)}%`,
});

// Over time.
const longest = Math.max(...results.map(({ ends }) => ends), 0.001);
const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 43200, 86400].find((each) => longest / each <= 7) || longest;
const timely = { most: longest, pick: near, where: clock, shade: single ? results[0].warmup_s : 0 };
timely.marks = Array.from({ length: Math.floor(longest / step + 1e-6) + 1 }, (_, index) => [index * step, index ? clock(index * step) : "0"]);
const over = (column) => (result) => result.slices.filter((one) => one[column] !== null).map((one) => [one[0], one[column]]);
const RATE = 1, P50 = 2, P99 = 3, MOST = 4, FAILED = 5;
const latencies = single
  ? [["slowest", "c3", MOST], ["p99", "c1", P99], ["p50", "c0", P50]].map(([name, shade, column]) => ({ name, colour: shade, points: over(column)(results[0]) }))
  : results.map((result, index) => ({ name: `${result.label} p99`, colour: colour(index), points: over(P99)(result) }));
new Chart("latency", latencies, { ...timely, format: time, log: true });
const rates = results.map((result, index) => ({ name: single ? "answers" : result.label, colour: colour(index), points: over(RATE)(result) }));
const failures = results.map((result) => ({ name: single ? "failed" : `${result.label} failed`, colour: "cbad", points: over(FAILED)(result) }));
new Chart("rate", [...rates, ...failures.filter(({ points }) => points.some((point) => point[1] > 0))], { ...timely, format: number });
})();
