// The way to the trash, and the way back right after a deletion.

import { go } from "./app.js";
import { attempt, call, el, t, toast } from "./kit.js";
import { now } from "./poll.js";

const OPENS = { run: (item) => ({ run: item.subject }), dataset: (item) => ({ dataset: item.subject }),
  checkpoint: (item) => ({ run: item.part_of }), batches: (item) => ({ dataset: item.part_of }) };

/** What something in the trash is called. */
export const titled = (item) => item.name || item.subject;

/** The link at the foot of a list. */
export const trashLink = () => el("p", { class: "st-foot" }, el("a", { href: "?view=trash" }, t("trash.link")));

/** Put it back, and go to it where it has a page. */
export async function restore(item) {
  const answer = await attempt(() => call(`trash/${item.id}/restore`, { method: "POST", body: {} }));
  if (!answer) return;
  toast(t("trash.restored", { name: titled(item) }));
  const opens = OPENS[item.kind]?.(item);
  if (opens) go(opens);
  else now();
}

/** Say that the thing of this id was deleted, with the way back beside it. */
export async function deleted(subject) {
  const answer = await attempt(() => call("trash"));
  const item = answer?.data.items.find((one) => one.subject === subject);
  const undo = item?.restorable ? el("button", { type: "button", class: "st-button st-small", id: "trash-undo",
    onclick: () => { undo.disabled = true; restore(item); } }, t("trash.undo")) : null;
  toast(undo ? el("span", { class: "st-undo" }, t("trash.moved"), undo) : t("trash.moved"), "undo");
}
