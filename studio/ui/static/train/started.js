// @ts-check
// From a press on *Start training* or *Check* to the run or the check: what is done meanwhile, and the jump to the run.

import { el, say, t } from "../kit/kit.js";
import { Elapsed } from "../kit/phase.js";
import { placeIn } from "../kit/pieces.js";
import { go } from "../kit/route.js";

/** @import { Bridge } from "../../types/page.js" */

const BUTTONS = "#start-training, #check-training";

/** @param {Element} root @param {Bridge<{ turn: number, run: string }>} bridge */
export function mount(root, bridge) {
  const words = el("span", { role: "status" });
  const elapsed = new Elapsed();
  placeIn(root).replaceChildren(el("p", { class: "st-quiet st-doing", id: "handed-in" }, words, elapsed.node));
  const answered = () => {
    say(words, "");
    elapsed.stop();
  };
  document.addEventListener("click", ({ target }) => {
    const button = target instanceof Element && target.closest(BUTTONS);
    if (!button || button.hasAttribute("disabled")) return;
    say(words, t("train.handed_in"));
    elapsed.countFromNow();
  });
  window.addEventListener("studio:answered", answered);
  /** @type {number | null} */
  let last = null;
  bridge.watch(() => {
    const value = bridge.value();
    if (!value || value.turn === last) return;
    last = value.turn;
    answered();
    go({ run: value.run });
  });
}
