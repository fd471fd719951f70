// What a run is at besides its steps: the phase under way with its own progress and time left, memory and load.

import { bytes, duration, el, number, say, t } from "./kit.js";

export class PhaseBar {
  constructor() {
    this.fill = el("i");
    this.words = el("span", { class: "st-quiet" });
    this.node = el("div", { class: "st-phase", id: "run-phase", role: "progressbar", "aria-valuemin": 0,
      "aria-label": t("run.phase_progress"), hidden: true }, el("div", { class: "st-meter" }, this.fill), this.words);
  }

  show({ phase, phase_done: done, phase_total: total, state }) {
    const counted = state === "running" && total > 0 && phase !== "training";
    this.node.hidden = !counted;
    if (!counted) { this.seen = null; return; }
    if (this.seen?.phase !== phase || done < this.seen.done) this.seen = { phase, done, at: Date.now() };
    this.node.setAttribute("aria-valuemax", total);
    this.node.setAttribute("aria-valuenow", done);
    this.fill.style.width = `${(100 * done) / total}%`;
    const made = done - this.seen.done;
    const left = made > 0 ? ((Date.now() - this.seen.at) / 1000 / made) * (total - done) : null;
    say(this.words, left === null ? "" : t("run.phase_left", { time: duration(left) }));
  }
}

/** Memory and load as rows of the run's numbers: [name, value]. */
export function use(record) {
  const now = record.usage;
  const rows = [];
  if (now?.memory_bytes) rows.push(["memory_now", bytes(now.memory_bytes)]);
  if (now?.cores_busy !== null && now?.cores_busy !== undefined) rows.push(["cores", number(now.cores_busy, 2)]);
  if (now?.gpu_memory_bytes) rows.push(["gpu_memory", bytes(now.gpu_memory_bytes)]);
  if (now?.gpu_percent !== null && now?.gpu_percent !== undefined) rows.push(["gpu", `${now.gpu_percent} %`]);
  if (record.peak_memory_bytes) rows.push(["memory", bytes(record.peak_memory_bytes)]);
  return rows;
}
