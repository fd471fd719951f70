// @ts-check
// The way to the trash, and the way back right after a deletion.

import { attempt, button, call, el, t, toast } from "../kit/kit.js";
import { now } from "../kit/poll.js";
import { go } from "../kit/route.js";

/** @import { Deleted } from "../../types/api.js" */

/** What something in the trash is called. @param {Deleted} item */
export const titled = (item) => item.name || item.subject;

/** The link at the foot of a list. */
export const trashLink = () => el("p", { class: "st-foot" }, el("a", { href: "?view=trash" }, t("trash.link")));

/** Where something shows once it is restored; null where it has no page.
 * @param {Deleted} item @returns {Record<string, string> | null} */
function pageOf({ kind, subject, part_of: whole }) {
  if (kind === "run") return { run: subject };
  if (kind === "dataset") return { dataset: subject };
  if (kind === "checkpoint" && whole) return { run: whole };
  if (kind === "batches" && whole) return { dataset: whole };
  return null;
}

/** Put it back, and go to it where it has a page. @param {Deleted} item */
export async function restore(item) {
  const answer = await attempt(() => call(`trash/${item.id}/restore`, { method: "POST", body: {} }));
  if (!answer) return;
  toast(t("trash.restored", { name: titled(item) }));
  const page = pageOf(item);
  if (page) go(page);
  else now();
}

/** Say that the thing of this id was deleted, with the way back beside it. @param {string} subject */
export async function deleted(subject) {
  const answer = await attempt(() => call("trash"));
  const item = answer?.data.items.find((one) => one.subject === subject);
  if (!item?.restorable) {
    toast(t("trash.moved"), "undo");
    return;
  }
  const undo = button(t("trash.undo"), {
    class: "st-button st-small",
    id: "trash-undo",
    onclick: ({ currentTarget }) => {
      currentTarget.disabled = true;
      restore(item);
    },
  });
  toast(el("span", { class: "st-undo" }, t("trash.moved"), undo), "undo");
}
