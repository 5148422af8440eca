// The panel around the stage: which part, which side, which background; the files come from data blocks of the page.

import { Stage } from "./stage.js";

const SIDES = { Front: [0, 15], "\u00be": [30, 20], Side: [90, 15], Back: [180, 15], Top: [0, 89.9] };
const GROUNDS = { White: "#ffffff", Grey: "#70757d", Black: "#101114" };

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

/** The bytes of a base64 data block, or null where the page has none. */
function block(id) {
  const text = document.getElementById(id)?.textContent.trim();
  return text ? Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)) : null;
}

/** A row of buttons of which one is pressed. */
function choice(label, names, pick) {
  const buttons = names.map((name) => make("button", { type: "button", onclick: () => press(name) }, name));
  const press = (name) => {
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", names[i] === name));
    return pick(name);
  };
  return { row: make("div", { class: "viewer-choice", role: "group", "aria-label": label }, ...buttons), press };
}

/** A button that is on or off. */
function toggle(label, title, flip) {
  const button = make("button", { type: "button", title, "aria-pressed": "false" }, label);
  button.addEventListener("click", () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", on);
    flip(on);
  });
  return button;
}

/** Put a viewer of the page's data blocks "splats" and "mesh" into `home`. `options`: show, azimuth, elevation, background
 * (hexadecimal), bare (no panel). home.dataset.state becomes "ready", or "failed" with a sentence in place of the picture. */
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
  const bytes = { splats: block("splats"), mesh: block("mesh") };
  const kinds = Object.keys(bytes).filter((kind) => bytes[kind]);
  if (!kinds.length) throw new Error("this run has neither splats nor a mesh.");
  if (!document.createElement("canvas").getContext("webgl2")) throw new Error("this browser has no WebGL 2.");
  const canvas = make("canvas", { tabindex: "0", role: "img", "aria-label": "The asset; drag to turn it, scroll to come closer" });
  home.append(canvas);
  const stage = new Stage(canvas, bytes);
  const facts = make("span", { class: "viewer-facts" });

  const wire = toggle("Wireframe", "The triangles of the mesh", (on) => stage.wire(on));
  const titles = { splats: "Splats", mesh: "Mesh" };
  const parts = choice("What is shown", kinds.map((kind) => titles[kind]), async (title) => {
    const kind = title.toLowerCase();
    await stage.show(kind);
    wire.hidden = kind !== "mesh";
    facts.textContent = stage.facts(kind);
    home.dataset.shows = kind;
  });
  const ground = choice("Background", Object.keys(GROUNDS), (name) => {
    stage.background(GROUNDS[name]);
    home.dataset.ground = name;
  });
  const sides = Object.entries(SIDES).map(([name, angles]) => make("button", { type: "button", onclick: () => stage.look(...angles) }, name));
  const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  const turn = toggle("Turn", "Turn the asset slowly (space)", (on) => stage.turn(on));
  const save = make("button", { type: "button", title: "This view as a PNG", onclick: () => picture(stage, canvas) }, "Save PNG");
  const full = make("button", { type: "button", title: "The whole screen (f)", onclick: () => fill(home) }, "Full screen");
  home.append(
    make("div", { class: "viewer-bar viewer-top" }, parts.row, ground.row),
    make("div", { class: "viewer-bar viewer-bottom" }, make("div", { class: "viewer-choice", role: "group", "aria-label": "Views" }, ...sides), make("div", { class: "viewer-choice" }, turn, wire, save, full), facts),
  );
  canvas.addEventListener("keydown", (event) => {
    const keys = { " ": () => turn.click(), f: () => fill(home), 1: () => parts.press("Splats"), 2: () => bytes.mesh && parts.press("Mesh") };
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });

  home.classList.toggle("viewer-bare", "bare" in options);
  ground.press("White");
  if (/^[0-9a-f]{6}$/i.test(options.background)) stage.background(`#${options.background}`);
  const angle = (text, usual) => (Number.isFinite(parseFloat(text)) ? parseFloat(text) : usual);
  stage.look(angle(options.azimuth, 0), angle(options.elevation, 15));
  await parts.press(titles[kinds.includes(options.show) ? options.show : kinds[0]]);
  if (still) turn.hidden = true;
}

function fill(home) {
  if (document.fullscreenElement) document.exitFullscreen();
  else home.requestFullscreen?.();
}

function picture(stage, canvas) {
  stage.draw(); // the buffer is only whole right after drawing
  const link = make("a", { href: canvas.toDataURL("image/png"), download: "view.png" });
  link.click();
}
