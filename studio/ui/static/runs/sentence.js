// @ts-check
// What a run is doing, in words.

import { bytes, has, t, textOr, unit, whole } from "../kit/kit.js";

/** @import { Run } from "../../types/api.js" */

/** @param {Run} record */
export function sentence(record) {
  if (record.note) return record.note;
  const { state, queue_position: position } = record;
  if (state === "queued" && position !== null && position > 0) return t("says.queued_at", { position });
  const busy = state === "running" || state === "starting";
  if (busy && record.phase && has(`phase.${record.phase}`)) return inPhase(record);
  return textOr(`says.${state}`, state);
}

/** @param {Run} record */
function inPhase(record) {
  const phase = t(`phase.${record.phase}`);
  if (!record.phase_total || record.phase === "training") return `${phase} …`;
  const size = record.phase_unit === "bytes" ? bytes : whole;
  const [done, total] = [size(record.phase_done ?? 0), size(record.phase_total)];
  return t("phase.counted", { phase, done, total, unit: unit(record.phase_unit) }).trim();
}
