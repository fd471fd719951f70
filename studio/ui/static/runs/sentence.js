// @ts-check
// What a run is doing, in words.

import { isTraining } from "../kit/facts.js";
import { t, textOr } from "../kit/kit.js";
import { doing } from "../kit/phase.js";

/** @import { Run } from "../../types/api.js" */

/** @param {Run} record */
export function sentence(record) {
  if (record.note) return record.note;
  const { state, queue_position: position } = record;
  if (state === "queued" && position !== null && position > 0) return t("says.queued_at", { position });
  return (isTraining(state) && doing(record)) || textOr(`says.${state}`, state);
}

/** Whether a person waits for the run's next step, and is shown for how long. @param {Run} record */
export const waits = ({ state, phase, note }) =>
  !note && (state === "queued" || (isTraining(state) && phase !== "training"));
