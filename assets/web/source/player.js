// The bar of what moves: play and pause, the time, how fast, again and again.

import { make, toggle } from "./dom.js";

const SPEEDS = [0.25, 0.5, 1, 2];

export class Player {
  /** `seek(seconds)` shows a moment. */
  constructor(seek) {
    this.seek = seek;
    this.seconds = this.time = 0;
    this.speed = 1;
    this.loop = true;
    this.button = make("button", { type: "button", title: "Play or pause (space)", "aria-label": "Play", onclick: () => this.play(!this.playing) }, "\u25b6");
    this.slider = make("input", { type: "range", min: "0", max: "1", step: "any", value: "0", "aria-label": "Time", oninput: () => this.scrub(Number(this.slider.value)) });
    this.clock = make("span", { class: "viewer-clock" });
    const speed = make("select", { "aria-label": "Speed", title: "Speed", onchange: () => (this.speed = Number(speed.value)) }, ...SPEEDS.map((s) => make("option", { value: s, ...(s === 1 && { selected: "" }) }, `${s}\u00d7`)));
    const loop = toggle("Loop", "Again and again", (on) => (this.loop = on));
    loop.setAttribute("aria-pressed", "true");
    this.bar = make("div", { class: "viewer-play", role: "group", "aria-label": "Movement" }, this.button, this.slider, this.clock, speed, loop);
    this.bar.hidden = true;
  }

  /** What is shown moves for `seconds` (0: it does not); it goes on from the same time. */
  shows(seconds) {
    this.seconds = seconds;
    this.bar.hidden = !seconds;
    if (seconds) this.show(Math.min(this.time, seconds));
    else this.play(false);
  }

  play(on) {
    if (on && (!this.seconds || this.playing)) return;
    this.playing = on;
    this.button.textContent = on ? "\u275a\u275a" : "\u25b6";
    this.button.setAttribute("aria-label", on ? "Pause" : "Play");
    if (!on) return;
    if (this.time >= this.seconds) this.time = 0;
    let before = performance.now();
    const step = (now) => {
      if (!this.playing) return;
      const time = this.time + (this.speed * Math.max(0, now - before)) / 1000;
      before = now;
      if (time > this.seconds && !this.loop) {
        this.show(this.seconds);
        return this.play(false);
      }
      this.show(time > this.seconds ? time % this.seconds : time);
      requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  /** To a share of the whole, and stay there. */
  scrub(share) {
    this.play(false);
    this.show(share * this.seconds);
  }

  /** A frame of film forwards or backwards. */
  nudge(frames) {
    this.play(false);
    this.show(Math.min(this.seconds, Math.max(0, this.time + frames / 24)));
  }

  show(time) {
    this.time = time;
    this.seek(time);
    this.slider.value = this.seconds ? time / this.seconds : 0;
    this.clock.textContent = `${time.toFixed(2)} / ${this.seconds.toFixed(2)} s`;
  }
}
