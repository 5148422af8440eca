// The panel around the stage: which part, which side, which background; the files come from data blocks of the page.

import { block, choice, make, toggle } from "./dom.js";
import { Player } from "./player.js";
import { Stage } from "./stage.js";

const SIDES = { Front: [0, 15], "\u00be": [30, 20], Side: [90, 15], Back: [180, 15], Top: [0, 89.9] };
const STEP = 5; // degrees that an arrow key turns
const GROUNDS = { White: "#ffffff", Grey: "#70757d", Black: "#101114" };

/** Put a viewer of the page's data blocks "splats", "moments" and "mesh" into `home`. `options`: show, azimuth, elevation, time (in
 * seconds; it then waits there), background (hexadecimal), bare (no panel). home.dataset.state becomes "ready", or "failed" with a sentence in place of the picture. */
export async function start(home, options = {}) {
  home.replaceChildren();
  try {
    await build(home, options);
    home.dataset.state = "ready";
  } catch (error) {
    home.dataset.state = "failed";
    home.replaceChildren(make("p", { class: "viewer-message", role: "alert" }, `The asset cannot be shown here: ${error.message}`));
  }
}

async function build(home, options) {
  const bytes = { splats: block("splats"), moments: block("moments"), mesh: block("mesh") };
  const kinds = ["splats", "mesh"].filter((kind) => bytes[kind]);
  if (!kinds.length) throw new Error("this run has neither splats nor a mesh.");
  if (!document.createElement("canvas").getContext("webgl2")) throw new Error("this browser has no WebGL 2.");
  const place = make("div", { class: "viewer-stage", tabindex: "0", role: "img", "aria-label": "The asset; drag or use the arrow keys to turn it, scroll, pinch or + and - to come closer" });
  home.append(place);
  const stage = new Stage(place, bytes);
  const player = new Player((seconds) => stage.seek(seconds));
  const facts = make("span", { class: "viewer-facts" });

  const wire = toggle("Wireframe", "The triangles of the mesh", (on) => stage.wire(on));
  const titles = { splats: "Splats", mesh: "Mesh" };
  const parts = choice("What is shown", kinds.map((kind) => titles[kind]), async (title) => {
    const kind = title.toLowerCase();
    await stage.show(kind);
    wire.hidden = kind !== "mesh";
    facts.textContent = stage.facts(kind);
    player.shows(stage.seconds);
    home.dataset.shows = kind;
  });
  const ground = choice("Background", Object.keys(GROUNDS), (name) => {
    stage.background(GROUNDS[name]);
    home.dataset.ground = name;
  });
  const sides = Object.entries(SIDES).map(([name, angles]) => make("button", { type: "button", onclick: () => stage.look(...angles) }, name));
  const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  const turn = toggle("Turn", "Turn the asset slowly (space)", (on) => stage.turn(on));
  const save = make("button", { type: "button", title: "This view as a PNG", onclick: () => make("a", { href: stage.picture(), download: "view.png" }).click() }, "Save PNG");
  const full = make("button", { type: "button", title: "The whole screen (f)", onclick: () => fill(home) }, "Full screen");
  home.append(
    make("div", { class: "viewer-bar viewer-top" }, parts.row, ground.row),
    make("div", { class: "viewer-bar viewer-bottom" }, player.bar, make("div", { class: "viewer-choice", role: "group", "aria-label": "Views" }, ...sides), make("div", { class: "viewer-choice" }, turn, wire, save, full), facts),
  );
  const keys = {
    " ": () => (stage.seconds ? player.play(!player.playing) : turn.click()),
    f: () => fill(home),
    1: () => kinds.includes("splats") && parts.press("Splats"),
    2: () => kinds.includes("mesh") && parts.press("Mesh"),
    ArrowLeft: () => stage.orbit(-STEP, 0),
    ArrowRight: () => stage.orbit(STEP, 0),
    ArrowUp: () => stage.orbit(0, STEP),
    ArrowDown: () => stage.orbit(0, -STEP),
    "+": () => stage.orbit(0, 0, 1.1),
    "=": () => stage.orbit(0, 0, 1.1),
    "-": () => stage.orbit(0, 0, 1 / 1.1),
    ",": () => player.nudge(-1),
    ".": () => player.nudge(1),
    Home: () => stage.look(0, 15),
  };
  place.addEventListener("keydown", (event) => {
    if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    keys[event.key]();
  });
  stage.controls.addEventListener("change", () => note(home, stage));

  home.classList.toggle("viewer-bare", "bare" in options);
  ground.press("White");
  if (/^[0-9a-f]{6}$/i.test(options.background)) stage.background(`#${options.background}`);
  const angle = (text, usual) => (Number.isFinite(parseFloat(text)) ? parseFloat(text) : usual);
  stage.look(angle(options.azimuth, 0), angle(options.elevation, 15));
  await parts.press(titles[kinds.includes(options.show) ? options.show : kinds[0]]);
  const time = parseFloat(options.time);
  if (Number.isFinite(time)) player.show(Math.min(stage.seconds, Math.max(0, time)));
  else if (!still) player.play(true);
  if (still) turn.hidden = true;
  note(home, stage);
}

/** Where the camera is, for who asks the page. */
function note(home, stage) {
  home.dataset.azimuth = stage.place.azimuth.toFixed(3);
  home.dataset.elevation = stage.place.elevation.toFixed(3);
}

function fill(home) {
  if (document.fullscreenElement) document.exitFullscreen();
  else home.requestFullscreen?.();
}
