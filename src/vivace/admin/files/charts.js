// Charts of points over time: lines in SVG, a heat map on a canvas. They get plain arrays and know nothing of servers.

const SVG = "http://www.w3.org/2000/svg";
const LEFT = 40, BOTTOM = 18, TOP = 4;

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function drawn(parent, name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

// The least of 1, 2, 2.5, 5 times a power of ten that is not below `value`.
export function niceTop(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  for (const step of [1, 2, 2.5, 5, 10]) if (step * power >= value * 0.999) return step * power;
  return 10 * power;
}

// Pieces of an SVG path; a gap where there was no point for too long, or no value.
function path(points, x, y, pick, gapS) {
  let text = "", last = null;
  for (const point of points) {
    const value = pick(point);
    if (value === null || value === undefined) { last = null; continue; }
    const joins = last !== null && point.t - last < gapS;
    text += `${joins ? "L" : "M"}${x(point.t).toFixed(1)} ${y(value).toFixed(1)}`;
    last = point.t;
  }
  return text;
}

function ago(seconds) {
  if (seconds % 3600 === 0) return `−${seconds / 3600} h`;
  return seconds % 60 === 0 ? `−${seconds / 60} min` : `−${seconds} s`;
}

const STEPS_S = [5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400];

class Chart {
  constructor(figure, title, onCursor) {
    this.caption = element("figcaption", {}, element("h2", {}, title));
    this.legend = element("ul", { class: "legend" });
    this.caption.append(this.legend);
    this.plot = element("div", { class: "plot", tabindex: "0", role: "img", "aria-label": title });
    this.title = title;
    figure.append(this.caption, this.plot);
    this.svg = document.createElementNS(SVG, "svg");
    this.svg.setAttribute("aria-hidden", "true");
    this.plot.append(this.svg);
    this.frame = null;
    this.plot.addEventListener("pointermove", (event) => {
      if (!this.frame) return;
      const { from, to, width } = this.frame;
      const share = (event.clientX - this.plot.getBoundingClientRect().left - LEFT) / (width - LEFT);
      onCursor(share < 0 || share > 1 ? null : from + share * (to - from));
    });
    this.plot.addEventListener("pointerleave", () => onCursor(null));
    this.plot.addEventListener("blur", () => onCursor(null));
    this.plot.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (step === undefined) { if (event.key === "Escape") onCursor(null); return; }
      event.preventDefault();
      onCursor({ step });
    });
  }

  // The frame: axes, time marks, events. Returns how to place a time and a value.
  begin(view, labels) {
    const width = this.plot.clientWidth || 300, height = this.plot.clientHeight || 150;
    const { from, to, events, cursor } = view;
    this.frame = { from, to, width, height };
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.replaceChildren();
    const x = (t) => LEFT + ((t - from) / (to - from)) * (width - LEFT);
    const bottom = height - BOTTOM;
    for (const [share, label] of labels) {
      const at = bottom - share * (bottom - TOP);
      drawn(this.svg, "line", { class: "grid", x1: LEFT, x2: width, y1: at, y2: at });
      drawn(this.svg, "text", { x: LEFT - 6, y: at + 4, "text-anchor": "end" }, label);
    }
    const spanS = Math.round(to - from), room = width < 420 ? 4 : 6;
    const step = STEPS_S.find((each) => spanS / each <= room) || STEPS_S.at(-1);
    for (let seconds = 0; seconds <= spanS; seconds += step) {
      const anchor = seconds === 0 ? "end" : seconds === spanS ? "start" : "middle";
      drawn(this.svg, "text", { x: x(to - seconds), y: height - 4, "text-anchor": anchor }, seconds ? ago(seconds) : "now");
    }
    for (const event of events) {
      if (event.t < from) continue;
      const line = drawn(this.svg, "line", { class: event.bad ? "event bad" : "event", x1: x(event.t), x2: x(event.t), y1: TOP, y2: bottom });
      drawn(line, "title", {}, event.text);
    }
    if (cursor !== null) drawn(this.svg, "line", { class: "cursor", x1: x(cursor), x2: x(cursor), y1: TOP, y2: bottom });
    return { x, bottom, width, height };
  }

  say(entries) {
    this.legend.replaceChildren(...entries.map(({ colour, name, text }) => {
      const item = element("li", { class: colour }, `${name} `);
      if (text) item.append(element("b", {}, text));
      return item;
    }));
    this.plot.setAttribute("aria-label", `${this.title}: ${entries.map((entry) => `${entry.name} ${entry.text}`).join(", ")}`);
  }
}

export class Lines extends Chart {
  // series: [{name, colour, pick(point), area}]
  // `binary`: sizes, whose round numbers are those of KiB, MiB and GiB.
  draw(view, series, format, least = 0, binary = false) {
    let most = least;
    for (const { pick } of series) for (const point of view.points) most = Math.max(most, pick(point) || 0);
    const unit = binary ? 2 ** (10 * Math.floor(Math.log2(Math.max(most, 1024)) / 10)) : 1;
    const top = niceTop(most / unit) * unit;
    const { x, bottom } = this.begin(view, [[0, "0"], [0.5, format(top / 2, true)], [1, format(top, true)]]);
    const y = (value) => bottom - (Math.min(value, top) / top) * (bottom - TOP);
    for (const { colour, pick, area } of series) {
      const line = path(view.points, x, y, pick, view.gapS);
      if (area && line.indexOf("M", 1) < 0 && view.points.length > 1) {
        const ends = view.points.filter((point) => pick(point) !== null);
        drawn(this.svg, "path", { class: `area ${colour}`, d: `${line}L${x(ends.at(-1).t)} ${bottom}L${x(ends[0].t)} ${bottom}Z` });
      }
      drawn(this.svg, "path", { class: `series ${colour}`, d: line });
    }
    const at = view.at;
    this.say(series.slice(0, 8).map(({ name, colour, pick }) => {
      const value = at ? pick(at) : null;
      return { name, colour, text: value === null || value === undefined ? "" : format(value) };
    }));
  }
}

export class Heat extends Chart {
  constructor(...how) {
    super(...how);
    this.canvas = element("canvas", { "aria-hidden": "true" });
    this.plot.prepend(this.canvas);
  }

  // Bands are half octaves above 2^-20 s; lines: [{name, colour, pick}]
  draw(view, lines, format) {
    let low = 22, high = 30;
    for (const point of view.points) {
      for (const band of Object.keys(point.heat)) { low = Math.min(low, +band); high = Math.max(high, +band + 1); }
    }
    const lower = (band) => 2 ** -20 * 2 ** Math.floor(band / 2) * (band % 2 ? 1.5 : 1);
    const place = (seconds) => {
      const octave = Math.floor(Math.log2(seconds * 2 ** 20));
      const band = octave * 2 + 2 * (seconds * 2 ** 20 / 2 ** octave - 1);
      return (Math.max(low, Math.min(high, band)) - low) / (high - low);
    };
    const labels = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1, 10, 100, 1000]
      .filter((seconds) => seconds >= lower(low) && seconds <= lower(high)).map((seconds) => [place(seconds), format(seconds, true)]);
    const { x, bottom, width, height } = this.begin(view, labels);
    this.paint(view, x, (share) => bottom - share * (bottom - TOP), low, high, width, height);
    const y = (seconds) => bottom - place(seconds) * (bottom - TOP);
    for (const { colour, pick } of lines) {
      drawn(this.svg, "path", { class: `series ${colour}`, d: path(view.points, x, y, pick, view.gapS) });
    }
    const at = view.at;
    this.say([{ name: "requests", colour: "cheat", text: "" }, ...lines.map(({ name, colour, pick }) => {
      const value = at ? pick(at) : null;
      return { name, colour, text: value ? format(value) : "" };
    })]);
  }

  paint(view, x, y, low, high, width, height) {
    const scale = window.devicePixelRatio || 1;
    if (this.canvas.width !== Math.round(width * scale)) this.canvas.width = Math.round(width * scale);
    if (this.canvas.height !== Math.round(height * scale)) this.canvas.height = Math.round(height * scale);
    const context = this.canvas.getContext("2d");
    const style = getComputedStyle(document.documentElement);
    const parse = (name) => style.getPropertyValue(name).split(",").map(Number);
    const base = parse("--heat"), topmost = parse("--heat-top");
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    let most = 1;
    for (const point of view.points) for (const count of Object.values(point.heat)) most = Math.max(most, count);
    const wide = Math.max(1, x(view.to) - x(view.to - view.stepS)) + 0.5;
    const size = (y(0) - y(1)) / (high - low);
    for (const point of view.points) {
      for (const [band, count] of Object.entries(point.heat)) {
        const share = Math.log1p(count) / Math.log1p(most);
        const mix = Math.max(0, share - 0.6) / 0.4;
        const colour = base.map((one, at) => Math.round(one + (topmost[at] - one) * mix));
        context.fillStyle = `rgba(${colour}, ${0.12 + 0.78 * share})`;
        const left = Math.max(LEFT, x(point.t) - wide);
        context.fillRect(left, y((+band + 1 - low) / (high - low)), x(point.t) - left, size + 0.3);
      }
    }
  }
}

// A small line without axes, for a cell of a table.
export function sparkline(svg, values) {
  const most = Math.max(...values, 1e-9), last = Math.max(1, values.length - 1);
  const line = values.map((value, at) => `${at ? "L" : "M"}${((at / last) * 119 + 0.5).toFixed(1)} ${(20 - (value / most) * 18).toFixed(1)}`).join("");
  if (!svg.firstChild) {
    drawn(svg, "path", { class: "area c0" });
    drawn(svg, "path", { class: "series c0" });
  }
  svg.children[0].setAttribute("d", `${line}L119.5 21L0.5 21Z`);
  svg.children[1].setAttribute("d", line);
}

export function emptySpark() {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 120 22");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  return svg;
}
