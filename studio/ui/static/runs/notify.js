// @ts-check
// A notification of the browser when a run ends, for those who asked for it; also while the tab is hidden.

import { isLive } from "../kit/facts.js";
import { ApiError, button, call, say, t, textOr, toast } from "../kit/kit.js";
import { remembered, titled } from "../kit/pieces.js";

/** @import { Run } from "../../types/api.js" */

const KEPT = "studio-notify";
const MOST = 50; // runs that are kept in mind
const EVERY = 5000; // milliseconds

const possible = () => "Notification" in window && Notification.permission !== "denied";

/** The runs whose end is awaited. @returns {string[]} */
const awaited = () => remembered(KEPT, []);

/** @param {string[]} ids */
const keep = (ids) => localStorage.setItem(KEPT, JSON.stringify(ids.slice(-MOST)));

/** @param {string} id */
const forget = (id) => keep(awaited().filter((other) => other !== id));

/** The button on a run's page. */
export class Notify {
  /** @param {string} id */
  constructor(id) {
    this.id = id;
    this.button = button("", {
      class: "st-button st-small",
      id: "notify",
      hidden: true,
      onclick: () => {
        this.toggle();
      },
    });
  }

  async toggle() {
    const on = awaited().includes(this.id);
    if (!on && (await Notification.requestPermission()) !== "granted") {
      toast(t("notify.denied"), "error");
      return;
    }
    if (on) forget(this.id);
    else keep([...awaited(), this.id]);
    this.tell();
  }

  /** @param {Run} record */
  show(record) {
    this.button.hidden = !isLive(record.state) || !("Notification" in window);
    this.tell();
  }

  tell() {
    const on = awaited().includes(this.id);
    this.button.setAttribute("aria-pressed", String(on));
    say(this.button, t(on ? "notify.on" : "notify.button"));
  }
}

/** Look after the awaited runs for as long as the tab is open; the pages' own polling rests while it is hidden. */
export async function watch() {
  if (possible()) {
    for (const id of awaited()) await look(id);
  }
  setTimeout(watch, EVERY);
}

/** @param {string} id */
async function look(id) {
  try {
    const { data } = await call(`runs/${id}`);
    if (isLive(data.state) || !awaited().includes(id)) return;
    forget(id); // before the other tabs look
    const words = data.error?.message ?? textOr(`says.${data.state}`, data.state);
    new Notification(titled({ id, name: data.name }), { body: words, tag: id, icon: "static/icon.svg" });
  } catch (error) {
    // A deleted run is forgotten; anything else may pass until the next look.
    if (error instanceof ApiError && error.status === 404) forget(id);
  }
}
