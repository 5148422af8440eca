"use strict";
document.documentElement.classList.add("js");

// The viewer's code is inert text until it is asked for.
document.getElementById("start")?.addEventListener("click", () => {
  const script = document.createElement("script");
  script.textContent = document.getElementById("bundle").textContent;
  document.head.append(script);
  dream3dViewer.start(document.getElementById("viewer"));
});

for (const frames of document.querySelectorAll(".frames")) {
  const slider = frames.querySelector("input");
  const figures = [...frames.querySelectorAll("figure")];
  const show = () => figures.forEach((figure, i) => (figure.hidden = i !== Number(slider.value)));
  slider.hidden = figures.length < 2;
  slider.addEventListener("input", show);
  show();
}

for (const button of document.querySelectorAll(".copy")) {
  button.addEventListener("click", async () => {
    const code = button.parentElement.querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code); // no clipboard for this page: one key does the rest
      button.textContent = "Selected";
    }
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
}

// The number under the pointer.
for (const svg of document.querySelectorAll(".curve svg")) {
  const points = svg.dataset.points.split(" ").map((pair) => pair.split(",").map(Number));
  const [first, last] = svg.dataset.domain.split(" ").map(Number);
  const [left, right] = svg.dataset.frame.split(" ").map(Number);
  const note = svg.parentElement.querySelector("figcaption .quiet");
  const usual = note.textContent;
  svg.addEventListener("pointermove", (event) => {
    const x = ((event.clientX - svg.getBoundingClientRect().left) / svg.clientWidth) * svg.viewBox.baseVal.width;
    const step = first + ((x - left) / (right - left)) * (last - first);
    const [at, value] = points.reduce((best, point) => (Math.abs(point[0] - step) < Math.abs(best[0] - step) ? point : best));
    note.textContent = `step ${Math.round(at).toLocaleString("en")}: ${value}`;
  });
  svg.addEventListener("pointerleave", () => (note.textContent = usual));
}
