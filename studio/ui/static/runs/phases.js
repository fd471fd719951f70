// @ts-check
// What a run is at besides its steps: the phase under way with its own progress and time left, memory and load.

import { bytes, duration, el, number, say, t } from "../kit/kit.js";
import { fillBar } from "../kit/pieces.js";

/** @import { Run } from "../../types/api.js" */

export class PhaseBar {
  constructor() {
    this.meter = el("div", { class: "st-meter" }, el("i"));
    this.words = el("span", { class: "st-quiet" });
    this.node = el(
      "div",
      {
        class: "st-phase",
        id: "run-phase",
        role: "progressbar",
        "aria-valuemin": 0,
        "aria-label": t("run.phase_progress"),
        hidden: true,
      },
      this.meter,
      this.words,
    );
    /** Where the phase was when it was first seen. @type {{ phase: string, done: number, at: number } | null} */
    this.seen = null;
  }

  /** @param {Run} record */
  show({ phase, phase_done, phase_total: total, state }) {
    if (state !== "running" || !total || phase === "training") {
      this.node.hidden = true;
      this.seen = null;
      return;
    }
    const done = phase_done ?? 0;
    if (this.seen?.phase !== phase || done < this.seen.done) this.seen = { phase, done, at: Date.now() };
    this.node.hidden = false;
    this.node.setAttribute("aria-valuemax", String(total));
    this.node.setAttribute("aria-valuenow", String(done));
    fillBar(this.meter, done, total);
    const advanced = done - this.seen.done;
    const seconds = (Date.now() - this.seen.at) / 1000;
    const left = advanced > 0 ? (seconds / advanced) * (total - done) : null;
    say(this.words, left === null ? "" : t("run.phase_left", { time: duration(left) }));
  }
}

/** Memory and load as rows of the run's numbers: [name, value]. @param {Run} record @returns {[string, string][]} */
export function use(record) {
  const now = record.usage ?? {};
  /** @type {[string, string][]} */
  const rows = [];
  if (now.memory_bytes) rows.push(["memory_now", bytes(now.memory_bytes)]);
  if (typeof now.cores_busy === "number") rows.push(["cores", number(now.cores_busy, 2)]);
  if (now.gpu_memory_bytes) rows.push(["gpu_memory", bytes(now.gpu_memory_bytes)]);
  if (typeof now.gpu_percent === "number") rows.push(["gpu", `${now.gpu_percent} %`]);
  if (record.peak_memory_bytes) rows.push(["memory", bytes(record.peak_memory_bytes)]);
  return rows;
}
