// @ts-check
// The jump from *Train* to the run that was just started.

import { go } from "../kit/route.js";

/** @import { Bridge } from "../../types/page.js" */

/** @param {Element} _root @param {Bridge<{ turn: number, run: string }>} bridge */
export function mount(_root, bridge) {
  /** @type {number | null} */
  let last = null;
  bridge.watch(() => {
    const value = bridge.value();
    if (!value || value.turn === last) return;
    last = value.turn;
    go({ run: value.run });
  });
}
