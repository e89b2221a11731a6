// The page of `vivace profile -o x.html`: shows the profile that stands in it.
"use strict";

(() => {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const set = (theme) => {
    root.dataset.theme = theme;
    button.textContent = theme === "dark" ? "Light" : "Dark";
  };
  set(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  button.addEventListener("click", () => set(root.dataset.theme === "dark" ? "light" : "dark"));
  Flame.make(document.getElementById("flame")).show(JSON.parse(document.getElementById("data").textContent));
})();
