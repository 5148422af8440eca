// Elements of the panel.

export function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

/** A row of buttons of which one is pressed. */
export function choice(label, names, pick) {
  const buttons = names.map((name) => make("button", { type: "button", onclick: () => press(name) }, name));
  const press = (name) => {
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", names[i] === name));
    return pick(name);
  };
  return { row: make("div", { class: "viewer-choice", role: "group", "aria-label": label }, ...buttons), press };
}

/** A button that is on or off. */
export function toggle(label, title, flip) {
  const button = make("button", { type: "button", title, "aria-pressed": "false" }, label);
  button.addEventListener("click", () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", on);
    flip(on);
  });
  return button;
}

/** The bytes of a base64 data block, or null where the page has none. */
export function block(id) {
  const text = document.getElementById(id)?.textContent.trim();
  if (!text) return null;
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const bytes = new Uint8Array((text.length / 4) * 3 - (text.endsWith("==") ? 2 : text.endsWith("=") ? 1 : 0));
  const piece = 1 << 20; // letters at once: a multiple of 4
  for (let from = 0, out = 0; from < text.length; from += piece) {
    const part = atob(text.slice(from, from + piece));
    for (let i = 0; i < part.length; i++) bytes[out++] = part.charCodeAt(i);
  }
  return bytes;
}
