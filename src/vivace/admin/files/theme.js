// Light or dark, before anything is painted: what was chosen here last, else what the system says.
"use strict";
(() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const read = () => { try { return localStorage.getItem("vivace-theme"); } catch { return null; } };
  const apply = () => { root.dataset.theme = read() || (system.matches ? "dark" : "light"); };
  system.addEventListener("change", apply);
  addEventListener("storage", apply);
  window.switchTheme = () => {
    const next = root.dataset.theme === "dark" ? "light" : "dark";
    try { localStorage.setItem("vivace-theme", next); } catch { /* private mode: for this page only */ }
    root.dataset.theme = next;
    return next;
  };
  apply();
})();
