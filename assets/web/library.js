"use strict";
(() => {
  const at = (id) => document.getElementById(id);
  const { records, metrics } = JSON.parse(at("records").textContent);
  const grid = at("grid"), GAP = 12, SIDE = 190, TEXT = 46;
  records.forEach((row) => { row.text = `${row.prompt} ${row.category} ${row.tags.join(" ")} ${row.name}`.toLowerCase(); });

  const option = (parent, value, text) => parent.append(Object.assign(document.createElement("option"), { value, textContent: text }));
  const states = ["done", "failed"].filter((state) => records.some((row) => row.state === state));
  const groups = [...new Set(records.map((row) => row.category).filter(Boolean))].sort();
  option(at("group"), "", "everything");
  if (states.length > 1) states.forEach((state) => option(at("group"), `state:${state}`, state));
  groups.forEach((group) => option(at("group"), `group:${group}`, group));
  option(at("key"), "", "the list");
  option(at("key"), "prompt", "prompt");
  metrics.forEach((name) => option(at("key"), `metric:${name}`, name));

  let shown = [];
  const sorted = (rows) => {
    const key = at("key").value;
    if (!key) return rows;
    const value = key === "prompt" ? (row) => row.text : (row) => row.metrics[key.slice(7)];
    return [...rows].sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
      return x < y ? -1 : x > y ? 1 : 0;
    });
  };
  const choose = () => {
    const words = at("words").value.toLowerCase().split(/\s+/).filter(Boolean), group = at("group").value;
    const fits = (row) => words.every((word) => row.text.includes(word)) &&
      (!group || group === `state:${row.state}` || group === `group:${row.category}`);
    shown = sorted(records.filter(fits));
    if (at("way").getAttribute("aria-pressed") === "true") shown.reverse();
    scrollTo(0, 0);
    at("count").textContent = `${shown.length} of ${records.length}`;
    draw(true);
  };

  // Only what is near the window exists: a card is made when it comes near, and goes when it is far.
  const cards = new Map();
  const made = (row) => {
    const card = document.createElement(row.viewer ? "a" : "div");
    card.setAttribute("role", "listitem");
    card.title = row.prompt;
    if (row.viewer) card.href = row.viewer;
    const picture = document.createElement(row.thumbnail ? "img" : "div");
    if (row.thumbnail) Object.assign(picture, { src: row.thumbnail, alt: row.prompt, decoding: "async" });
    else { picture.className = "none"; picture.textContent = row.reason || row.state; }
    const name = Object.assign(document.createElement("b"), { textContent: row.prompt });
    const key = at("key").value, value = key.startsWith("metric:") ? row.metrics[key.slice(7)] : undefined;
    const told = value === undefined ? `seed ${row.seed}${row.category ? ` \u00b7 ${row.category}` : ""}` : `${key.slice(7)} ${+value.toPrecision(3)}`;
    card.append(picture, name, Object.assign(document.createElement("small"), { textContent: told }));
    return card;
  };
  const draw = (anew) => {
    const wide = grid.clientWidth, columns = Math.max(2, Math.floor((wide + GAP) / (SIDE + GAP)));
    const side = (wide - GAP * (columns - 1)) / columns, tall = side + TEXT + GAP;
    grid.style.height = `${Math.ceil(shown.length / columns) * tall}px`;
    const top = Math.max(0, -grid.getBoundingClientRect().top), rows = Math.ceil(shown.length / columns);
    const first = Math.max(0, Math.min(Math.floor(top / tall), rows) - 1) * columns;
    const last = Math.min(shown.length, first + (Math.ceil(innerHeight / tall) + 3) * columns);
    const near = new Set(shown.slice(first, last));
    for (const [row, card] of cards) if (anew || !near.has(row)) { card.remove(); cards.delete(row); }
    for (let i = first; i < last; i++) {
      const row = shown[i], card = cards.get(row) || made(row);
      if (!cards.has(row)) { cards.set(row, card); grid.append(card); }
      Object.assign(card.style, { left: `${(i % columns) * (side + GAP)}px`, top: `${Math.floor(i / columns) * tall}px`,
        width: `${side}px`, height: `${tall - GAP}px` });
    }
  };
  let waiting = false;
  const soon = () => { if (!waiting) { waiting = true; requestAnimationFrame(() => { waiting = false; draw(false); }); } };
  addEventListener("scroll", soon, { passive: true });
  addEventListener("resize", soon);
  at("words").addEventListener("input", choose);
  at("group").addEventListener("change", choose);
  at("key").addEventListener("change", choose);
  at("way").addEventListener("click", () => {
    at("way").setAttribute("aria-pressed", String(at("way").getAttribute("aria-pressed") !== "true"));
    choose();
  });
  document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
  choose();
  document.documentElement.dataset.state = "ready";
})();
