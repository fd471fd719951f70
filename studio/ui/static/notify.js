// A notification of the browser when a run ends, for those who asked for it on its page: on every page, and while the tab is hidden.

import { ApiError, call, el, has, say, t, toast } from "./kit.js";

const LIVE = new Set(["queued", "starting", "running", "stopping"]);
const KEPT = "studio-notify";
const EVERY = 5000;
const possible = () => "Notification" in window && Notification.permission !== "denied";

/** The runs whose end is awaited. */
function asked() {
  try { return JSON.parse(localStorage.getItem(KEPT)) ?? []; } catch { return []; }
}

const keep = (ids) => localStorage.setItem(KEPT, JSON.stringify(ids.slice(-50)));
const forget = (id) => keep(asked().filter((other) => other !== id));

/** The button on a run's page. */
export class Notify {
  constructor(id) {
    this.id = id;
    this.button = el("button", { type: "button", class: "st-button st-small", id: "notify", hidden: true, onclick: () => this.toggle() });
  }

  async toggle() {
    const on = asked().includes(this.id);
    if (!on && (await Notification.requestPermission()) !== "granted") { toast(t("notify.denied"), "error"); return; }
    if (on) forget(this.id);
    else keep([...asked(), this.id]);
    this.show(this.record);
  }

  show(record) {
    const on = asked().includes(this.id);
    this.record = record;
    this.button.hidden = !LIVE.has(record.state) || !("Notification" in window);
    this.button.setAttribute("aria-pressed", String(on));
    say(this.button, t(on ? "notify.on" : "notify.button"));
  }
}

/** Look after the awaited runs for as long as the tab is open; the pages' own polling rests while it is hidden. */
export async function watch() {
  for (const id of possible() ? asked() : []) await look(id);
  setTimeout(watch, EVERY);
}

async function look(id) {
  try {
    const { data } = await call(`runs/${id}`);
    if (LIVE.has(data.state) || !asked().includes(id)) return;
    forget(id);  // before the other tabs look
    const words = data.error?.message ?? (has(`says.${data.state}`) ? t(`says.${data.state}`) : data.state);
    new Notification(data.name || t("runs.unnamed", { id: id.slice(0, 6) }), { body: words, tag: id, icon: "static/icon.svg" });
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) forget(id);  // deleted; anything else may pass until the next look
  }
}
