// Flame graphs of a profile (observe/profiles.py): CPU and waiting apart, by route, with search and zoom.
// A plain script: for the dashboard and for the file that `vivace profile -o x.html` writes. Whatever came from outside
// is text. Rows are drawn down from the root; what is too narrow to click is not drawn.
"use strict";

const Flame = (() => {
  const RUNNING = "running";
  const WORDS = {
    gil: "waiting for the GIL", lock: "waiting for a lock", sleep: "sleeping", io: "waiting for I/O",
    disk: "waiting for a disk", child: "waiting for a child process", other: "waiting", running: "running",
  };
  const ROW_PX = 19;
  const NARROW_PX = 2;
  const DEPTH_MAX = 120;

  const element = (tag, attributes = {}, ...children) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name === "class") made.className = value;
      else made.setAttribute(name, value);
    }
    made.append(...children);
    return made;
  };
  const percent = (share) => `${(100 * share).toFixed(share < 0.0995 ? 2 : 1)}%`;
  const seconds = (value) => (value >= 1 ? `${value.toFixed(2)} s` : `${(1000 * value).toFixed(value < 0.01 ? 2 : 1)} ms`);

  // A frame's shade says which package it is of: the same everywhere.
  const shade = (file) => {
    const packaged = file.split("/site-packages/")[1];
    const key = packaged ? packaged.split("/")[0] : /\/lib\/python[0-9.]*\//.test(file) ? "" : file;
    let hash = 7;
    for (const char of key) hash = (hash * 31 + char.codePointAt(0)) & 0xffff;
    return key === "" ? "std" : packaged ? `p${hash % 4}` : `o${hash % 4}`;
  };

  function tree(profile, wanted) {
    const root = { name: "all", file: "", state: "", value: 0, own: 0, children: new Map(), lines: new Map() };
    for (const [route, state, stack, weight] of profile.samples) {
      if (!wanted(route, state)) continue;
      let node = root;
      root.value += weight;
      for (const number of profile.stacks[stack].slice(0, DEPTH_MAX)) {
        const [name, file, line] = profile.frames[number];
        const key = `${name}\n${file}`;
        let next = node.children.get(key);
        if (!next) node.children.set(key, (next = { name, file, state: "", value: 0, own: 0, children: new Map(), lines: new Map() }));
        next.value += weight;
        next.lines.set(line, (next.lines.get(line) || 0) + weight);
        node = next;
      }
      if (state !== RUNNING) {
        const key = `\n${state}`;
        let next = node.children.get(key);
        if (!next) node.children.set(key, (next = { name: WORDS[state] || state, file: "", state, value: 0, own: 0, children: new Map(), lines: new Map() }));
        next.value += weight;
        node = next;
      }
      node.own += weight;
    }
    return root;
  }

  function graph(title, describe) {
    const canvas = element("div", { class: "flame-rows", role: "group", "aria-label": title });
    const path = element("p", { class: "flame-path muted" });
    const heading = element("h3", {}, title);
    const share = element("span", { class: "muted" });
    const back = element("button", { type: "button", hidden: "" }, "Show all");
    const figure = element("figure", { class: "flame" }, element("figcaption", {}, heading, share, back), canvas, path);
    const state = { root: null, zoom: [], all: 0, find: "" };

    const matches = (node) => state.find !== "" && `${node.name} ${node.file}`.toLowerCase().includes(state.find);
    const matched = (node) => {
      if (matches(node)) return node.value;
      let sum = 0;
      for (const child of node.children.values()) sum += matched(child);
      return sum;
    };
    const walk = (names) => {
      const nodes = [state.root];
      for (const name of names) {
        const next = nodes[nodes.length - 1].children.get(name);
        if (!next) break;
        nodes.push(next);
      }
      return nodes;
    };
    const said = (node) => {
      const lines = [...node.lines].sort((a, b) => b[1] - a[1]).slice(0, 6).map(([line, value]) => `${line} (${percent(value / node.value)})`);
      const where = node.file ? ` · ${node.file}${lines.length ? `, line ${lines.join(", ")}` : ""}` : "";
      const own = node.own && node.own < node.value ? `, ${percent(node.own / state.all)} of it itself` : "";
      return `${node.name}: ${percent(node.value / state.all)}, ${seconds(node.value)}${own}${where}`;
    };
    const box = (node, names, left, width, depth, above) => {
      const drawn = element("button", { type: "button", title: said(node), class: `flame-box ${above ? "above " : ""}${node.state ? `w-${node.state}` : node.file ? shade(node.file) : "root"}${matches(node) ? " found" : ""}` }, node.name);
      drawn.style.left = `${100 * left}%`;
      drawn.style.width = `${100 * width}%`;
      drawn.style.top = `${depth * ROW_PX}px`;
      drawn.addEventListener("click", () => { state.zoom = names; draw(); });
      const tell = () => { path.textContent = said(node); };
      drawn.addEventListener("mouseenter", tell);
      drawn.addEventListener("focus", tell);
      canvas.append(drawn);
    };
    function draw() {
      const kept = canvas.contains(document.activeElement);
      canvas.textContent = "";
      const chain = walk(state.zoom);
      state.zoom = state.zoom.slice(0, chain.length - 1);
      back.hidden = chain.length === 1;
      figure.hidden = !state.root.value;
      let depth = 0;
      chain.slice(0, -1).forEach((node, number) => box(node, state.zoom.slice(0, number), 0, 1, depth++, true));
      const top = chain[chain.length - 1];
      const least = NARROW_PX / Math.max(300, canvas.clientWidth || 900);
      let deepest = depth;
      const place = (node, names, left, level) => {
        const width = node.value / top.value;
        if (width < least) return;
        deepest = Math.max(deepest, level);
        box(node, names, left, width, level, false);
        const children = [...node.children].sort((a, b) => b[1].value - a[1].value);
        for (const [name, child] of children) {
          place(child, [...names, name], left, level + 1);
          left += child.value / top.value;
        }
      };
      if (top.value) place(top, state.zoom, 0, depth);
      canvas.style.height = `${(deepest + 1) * ROW_PX}px`;
      const hit = state.find === "" ? "" : `, ${percent(matched(state.root) / state.all)} matches`;
      share.textContent = `${describe(state.root.value, state.all)}${hit}`;
      if (kept) canvas.querySelector(".flame-box:not(.above)")?.focus();
    }
    back.addEventListener("click", () => { state.zoom = []; draw(); });
    addEventListener("resize", () => { if (state.root) draw(); });
    return { figure, show(root, all, find) { Object.assign(state, { root, all: all || 1, find }); draw(); } };
  }

  // Puts controls and the two graphs into `place`; returns {show(profile)}.
  function make(place) {
    const route = element("select", { "aria-label": "Route" });
    const search = element("input", { type: "search", placeholder: "Search functions and files", spellcheck: "false", "aria-label": "Search" });
    const states = element("ul", { class: "legend flame-states" });
    const none = element("p", { class: "empty" }, "No request was seen in the application's code.");
    const cpu = graph("CPU", (value, all) => `${percent(value / all)} of the time, ${seconds(value)}`);
    const wait = graph("Waiting", (value, all) => `${percent(value / all)} of the time, ${seconds(value)}`);
    place.append(element("div", { class: "flame-controls" }, route, search, states), none, cpu.figure, wait.figure);
    let profile = null;

    function draw() {
      const name = route.value;
      const mine = (one) => name === "" || one === name;
      const sums = new Map();
      for (const [one, state, , weight] of profile.samples) if (mine(one)) sums.set(state, (sums.get(state) || 0) + weight);
      const all = [...sums.values()].reduce((a, b) => a + b, 0);
      none.hidden = all > 0;
      states.textContent = "";
      for (const [state, value] of [...sums].sort((a, b) => b[1] - a[1])) {
        states.append(element("li", { class: `w-${state}` }, `${WORDS[state] || state} ${percent(value / all)}`));
      }
      const find = search.value.trim().toLowerCase();
      cpu.show(tree(profile, (one, state) => mine(one) && state === RUNNING), all, find);
      wait.show(tree(profile, (one, state) => mine(one) && state !== RUNNING), all, find);
    }
    function show(found) {
      profile = found;
      const sums = new Map();
      for (const [one, , , weight] of profile.samples) sums.set(one, (sums.get(one) || 0) + weight);
      const before = route.value;
      route.textContent = "";
      route.append(element("option", { value: "" }, "All routes"));
      for (const [one] of [...sums].sort((a, b) => b[1] - a[1])) route.append(element("option", { value: one }, one));
      route.value = sums.has(before) ? before : "";
      draw();
    }
    route.addEventListener("change", draw);
    search.addEventListener("input", draw);
    return { show };
  }

  return { make };
})();
