// Slow requests and those in flight, each with what it did: /slow.json asks the workers, when somebody wants to see it.
import { element } from "/charts.js";

export const PHASES = ["queued", "body", "cpu", "blocked", "send"];
export const PHASE_NAMES = { queued: "queued", body: "body", cpu: "on CPU", blocked: "waiting", send: "sending" };
const LINES_MAX = 40, MARKS = 3;
const $ = (id) => document.getElementById(id);
const known = (value) => value !== null && value !== undefined;
const nameOf = (row) => `${row.ended_s} ${row.route}`;
const told = new Map();  // by nameOf: what the workers have said of requests that are shown

async function look() {
  const answer = await fetch("/slow.json", { cache: "no-store" });
  if (!answer.ok) throw new Error(`${answer.status}`);
  const found = await answer.json();
  for (const row of found.finished || []) told.set(nameOf(row), row);
  return found;
}

// Lines of text.

function treeLines(nodes, indent, span, lines) {
  for (const node of nodes) {
    const own = Object.entries(node.states).sort((one, other) => other[1] - one[1]).map(([state, seconds]) => `${state} ${span(seconds)}`);
    lines.push(`${indent}${span(node.seconds)}  ${node.function} (${node.file}:${node.line})${own.length ? `  ${own.join(", ")}` : ""}`);
    treeLines(node.children, `${indent}  `, span, lines);
  }
  return lines;
}

function linesOf(row, span) {
  const lines = [];
  const who = [known(row.pid) ? `process ${row.pid}` : "a worker that has ended"];
  if (row.client) who.push(`from ${row.client}`);
  if (row.request_id) who.push(`id ${row.request_id}`);
  lines.push(who.join("  "));
  if (row.at) lines.push(`at ${row.at[0]} (${row.at[1]}:${row.at[2]})${row.waits ? `, ${row.waits}` : ""}`);
  else if (row.waits) lines.push(row.waits);
  if (known(row.gil_s) && row.gil_s > 0) lines.push(`waited for the GIL ${span(row.gil_s)}`);
  if (known(row.ready_s) && row.ready_s > 0.05 * row.application_s) lines.push(`waited for a core ${span(row.ready_s)}`);
  if (row.gc_s) lines.push(`held up by collections of garbage ${span(row.gc_s)}`);
  const total = Object.values(row.states).reduce((sum, one) => sum + one, 0);
  if (total > 0) {
    const shares = Object.entries(row.states).sort((one, other) => other[1] - one[1]).map(([state, one]) => `${state} ${Math.round((100 * one) / total)}%`);
    lines.push(`of ${span(total)} that were seen: ${shares.join(", ")}`);
  } else lines.push("nothing was seen of what it did");
  const tree = treeLines(row.tree, "", span, []);
  return lines.concat(tree.slice(0, LINES_MAX), tree.length > LINES_MAX ? [`... ${tree.length - LINES_MAX} lines left off`] : []).join("\n");
}

// Those that have ended.

function barOf(row, most, span) {
  const bar = element("span", { class: "bar" });
  for (const phase of PHASES) {
    const part = element("i", { class: phase });
    part.style.width = `${(100 * row[`${phase}_s`]) / Math.max(row.response_s, 1e-9)}%`;
    bar.append(part);
  }
  const track = element("span", { class: "track" }, bar);
  bar.style.width = `${(100 * row.response_s) / most}%`;
  track.title = PHASES.map((phase) => `${PHASE_NAMES[phase]} ${span(row[`${phase}_s`])}`).join(", ");
  track.setAttribute("role", "img");
  track.setAttribute("aria-label", track.title);
  return track;
}

async function open(details, row, span) {
  const text = details.querySelector("pre");
  try {
    if (!told.has(nameOf(row))) await look();
    text.textContent = told.has(nameOf(row)) ? linesOf(told.get(nameOf(row)), span) : "Its worker does not know it any more.";
  } catch (error) {
    text.textContent = "The admin address does not answer; close this and open it again.";
  }
}

export function drawSlow(rows, span, clock) {
  const most = Math.max(...rows.map((row) => row.response_s), 1e-9);
  const were = new Set([...$("slow").querySelectorAll("details[open]")].map((one) => one.dataset.name));
  $("slow").replaceChildren(...rows.map((row) => {
    const made = element("details", { "data-name": nameOf(row) },
      element("summary", { class: "slow" }, element("span", { class: "age" }, span(row.response_s)), element("span", { class: "what" }, row.request),
        barOf(row, most, span), element("span", { class: "more" }, `${row.status || "–"} · #${row.worker} · ${clock(row.ended_s)}`)),
      element("pre", { tabindex: "0" }, "asking …"));
    made.addEventListener("toggle", () => { if (made.open) open(made, row, span); });
    made.open = were.has(nameOf(row));
    return made;
  }));
  $("no-slow").hidden = rows.length > 0;
  const shown = new Set(rows.map(nameOf));
  for (const name of told.keys()) if (told.size > MARKS * rows.length && !shown.has(name)) told.delete(name);
}

// Those that run.

let running = null;  // what the workers say of them; null: nobody wants to see it

export function drawFlight(workers, span) {
  const plain = workers.flatMap((worker) => worker.in_progress.map((request) => ({ ...request, more: `${request.phase} · #${worker.place}` })));
  const found = running ? running.map((row) => ({ ...row, more: row.phase })) : plain;
  found.sort((one, other) => other.age_s - one.age_s);
  $("flight").replaceChildren(...found.slice(0, 15).flatMap((row) => {
    const line = element("div", { class: "row" }, element("span", { class: "age" }, span(row.age_s)),
      element("span", { class: "what" }, row.request), element("span", { class: "more" }, row.more));
    return running ? [line, element("pre", { tabindex: "0" }, linesOf(row, span))] : [line];
  }));
  $("no-flight").hidden = found.length > 0;
}

export async function askForFlight() {
  if ($("explain").getAttribute("aria-pressed") !== "true") { running = null; return; }
  running = (await look()).running || [];
}

$("explain").addEventListener("click", () => {
  $("explain").setAttribute("aria-pressed", String($("explain").getAttribute("aria-pressed") !== "true"));
});
