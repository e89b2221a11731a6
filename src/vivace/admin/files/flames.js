// Flame graphs of the last minute: /profile.json asks the workers, while the graphs are open and nobody points at them.
const EVERY_MS = 3000, LAST_S = 60;
const $ = (id) => document.getElementById(id);
const place = $("flames"), button = $("flames-open"), said = $("flames-said");
let shown = null, timer = 0;

async function look() {
  clearTimeout(timer);
  if (place.hidden) return;
  if ($("pause").getAttribute("aria-pressed") !== "true" && !document.hidden && !place.matches(":hover, :focus-within")) {
    try {
      const answer = await fetch(`/profile.json?last=${LAST_S}`, { cache: "no-store" });
      if (!answer.ok) throw new Error(await answer.text());
      const profile = await answer.json();
      const length = Math.max(profile.to_s - profile.from_s, 1e-9);
      said.textContent = profile.workers
        ? `${profile.looks} looks, which took ${((100 * profile.cost_s) / length / profile.workers).toFixed(2)}% of a core of each worker`
        : "no worker has a profiler";
      shown = shown || Flame.make(place);
      shown.show(profile);
    } catch (error) {
      said.textContent = `not known: ${error.message}`;
    }
  }
  timer = setTimeout(look, EVERY_MS);
}

button.addEventListener("click", () => {
  place.hidden = !place.hidden;
  button.setAttribute("aria-expanded", String(!place.hidden));
  if (place.hidden) said.textContent = "";
  look();
});
