// @ts-check
// What is left of an upload that broke off: taken as it is, or sent on.

import { attempt, button, el, say, t, whole } from "../kit/kit.js";
import { badNote } from "../kit/pieces.js";
import { listed } from "./entries.js";
import { options } from "./options.js";
import { bring, commit, whyBroken } from "./send.js";

/** @import { Dataset } from "../../types/api.js" */
/** @import { Entry } from "./batches.js" */

/** A note on the files that wait in a data set; `done` is called when they are imported. Null where none waits.
 * @param {Dataset} set @param {() => void} done */
export function arrived({ id, name, waiting, state, report }, done) {
  if (!waiting || state === "importing") return null;
  const wishes = options();
  const status = el("p", { class: "st-quiet", role: "status" });
  const problem = el("div", { role: "alert" });

  /** @param {number} share */
  const progress = (share) => {
    const percent = Math.round(share * 100);
    say(status, share < 1 ? t("datasets.uploading", { percent }) : t("datasets.importing"));
  };
  /** @param {Entry[]} files */
  const send = async (files) => {
    problem.replaceChildren();
    buttons.hidden = true;
    try {
      await bring({ draft: id, name, files, wishes: wishes.value() }, new AbortController().signal, progress);
      done();
    } catch (error) {
      problem.replaceChildren(badNote(whyBroken(error)));
    } finally {
      buttons.hidden = false;
    }
  };
  const use = () =>
    attempt(async () => {
      await commit(id, wishes.value());
      done();
    });
  const primary = { class: "st-button st-primary", id: "arrived-use", onclick: use };
  const buttons = el(
    "div",
    { class: "st-actions" },
    button(t("datasets.use_arrived"), primary),
    ...chooser("datasets.rest_folder", { id: "rest-folder", webkitdirectory: true }, send),
    ...chooser("datasets.rest_files", { id: "rest-files" }, send),
  );
  const title = t(report?.error ? "datasets.not_imported" : "datasets.broken_off");
  const count = t("datasets.arrived", { count: whole(waiting) });
  const words = [el("strong", {}, title), el("p", {}, count, " ", t("datasets.arrived_help"))];
  return el("section", { class: "st-note", id: "arrived" }, ...words, wishes.node, buttons, status, problem);
}

/** A button that chooses the rest of the files. @param {string} key @param {Record<string, unknown>} attributes
 * @param {(files: Entry[]) => void} send */
function chooser(key, attributes, send) {
  const input = el("input", {
    type: "file",
    class: "st-sr",
    multiple: true,
    tabindex: -1,
    "aria-label": t(key),
    ...attributes,
    onchange: ({ currentTarget }) => send(listed(currentTarget.files)),
  });
  return [input, button(t(key), { onclick: () => input.click() })];
}
