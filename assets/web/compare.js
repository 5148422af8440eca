"use strict";
(() => {
  const all = (where, root = document) => [...root.querySelectorAll(where)];
  const grid = document.querySelector(".cells"), angle = document.getElementById("angle");
  const degrees = document.getElementById("degrees"), turn = document.getElementById("turn");
  const pictures = JSON.parse(document.getElementById("turntables").textContent);
  const frames = Number(angle.max) + 1;
  let timer = 0;

  // Pictures are made of their data when they come into view, once.
  const watch = new IntersectionObserver((seen) => {
    for (const { target, isIntersecting } of seen) {
      const data = pictures[target.dataset.run];
      if (!isIntersecting || !data) continue;
      target.style.backgroundImage = `url(data:image/jpeg;base64,${data})`;
      target.dataset.drawn = "";
      watch.unobserve(target);
    }
  }, { rootMargin: "200px" });
  all("i[data-run]").forEach((picture) => watch.observe(picture));

  const look = (frame) => {
    angle.value = frame;
    grid.style.setProperty("--turn", frame);
    degrees.textContent = `${(frame * 360) / frames}\u00b0`;
  };
  const stop = () => { clearInterval(timer); timer = 0; turn.textContent = "Turn"; };
  const start = () => {
    timer = setInterval(() => look((Number(angle.value) + 1) % frames), 400);
    turn.textContent = "Stop";
  };
  angle.addEventListener("input", () => { stop(); look(Number(angle.value)); });
  turn.addEventListener("click", () => (timer ? stop() : start()));

  const seeds = all(".seeds button");
  seeds.forEach((button) => button.addEventListener("click", () => {
    seeds.forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
    all(".run").forEach((run) => { run.hidden = run.dataset.seed !== button.dataset.seed; });
  }));

  // Numbers from the largest on at first, words from A; what has no value stays last.
  const value = (row, column) => row.children[column].dataset.value;
  const order = (column, sign) => (a, b) => {
    const [x, y] = [value(a, column), value(b, column)];
    if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
    return sign * (column ? Number(x) - Number(y) : x.localeCompare(y));
  };
  const heads = all(".scores thead th");
  heads.forEach((head, column) => head.firstChild.addEventListener("click", () => {
    const ways = column ? ["descending", "ascending"] : ["ascending", "descending"];
    const way = ways[Number(head.getAttribute("aria-sort") === ways[0])];
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", way);
    const body = document.querySelector(".scores tbody");
    body.append(...all("tr", body).sort(order(column, way === "ascending" ? 1 : -1)));
  }));

  look(Number(angle.value));
  matchMedia("(prefers-reduced-motion: reduce)").matches ? stop() : start();
  document.documentElement.dataset.state = "ready";
})();
