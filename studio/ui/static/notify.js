// A notification of the browser when a run ends, for those who asked for it on its page.

import { el, say, t, toast } from "./kit.js";
import { titled } from "./parts.js";

const LIVE = new Set(["queued", "starting", "running", "stopping"]);
const KEPT = "studio-notify";

export class Notify {
  constructor(id) {
    this.id = id;
    this.button = el("button", { type: "button", class: "st-button st-small", id: "notify", "aria-pressed": "false", hidden: true, onclick: () => this.toggle() });
    this.on = "Notification" in window && Notification.permission === "granted" && asked().includes(id);
  }

  async toggle() {
    if (!this.on && (await Notification.requestPermission()) !== "granted") { toast(t("notify.denied"), "error"); return; }
    this.on = !this.on;
    const others = asked().filter((id) => id !== this.id);
    localStorage.setItem(KEPT, JSON.stringify(this.on ? [...others, this.id].slice(-50) : others));
    this.draw();
  }

  draw() {
    this.button.setAttribute("aria-pressed", String(this.on));
    say(this.button, t(this.on ? "notify.on" : "notify.button"));
  }

  /** The run is in this state now; told once, when it has just ended. */
  show(record, sentence) {
    const live = LIVE.has(record.state);
    this.button.hidden = !live || !("Notification" in window);
    this.draw();
    if (this.live && !live && this.on) new Notification(titled(record), { body: record.error?.message ?? sentence, tag: this.id, icon: "static/icon.svg" });
    this.live = live;
  }
}

function asked() {
  try { return JSON.parse(localStorage.getItem(KEPT)) ?? []; } catch { return []; }
}
