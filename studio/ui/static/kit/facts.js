// @ts-check
// What the server knows and every page needs before it asks for anything: from the page's head (`ui/facts.py`).

import { existing } from "./kit.js";

/** @import { State } from "../../types/api.js" */
/** @import { Facts } from "../../types/facts.js" */

/** @type {Facts} */
export const FACTS = JSON.parse(existing("studio-facts").textContent ?? "{}");

export const { longest: LONGEST, weights: WEIGHTS } = FACTS;

const LIVE = new Set(FACTS.live_states);
const TRAINING = new Set(FACTS.training_states);

/** Whether a run or a job in this state is under way, or waits for its turn. @param {State} state */
export const isLive = (state) => LIVE.has(state);

/** Whether a run in this state trains, so that a change reaches it on its way. @param {State} state */
export const isTraining = (state) => TRAINING.has(state);
