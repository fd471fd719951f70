// What is left of an upload that broke off: taken as it is, or sent on.

import { attempt, el, say, t, whole } from "./kit.js";
import { bring, commit } from "./send.js";
import { listed, options } from "./upload.js";

/** A note on the files that wait in a data set; `done` is called when they are imported. Null where none waits. */
export function arrived({ id, name, waiting, state, report }, done) {
  if (!waiting || state === "importing") return null;
  const wishes = options();
  const status = el("p", { class: "st-quiet", role: "status" });
  const problem = el("div", { role: "alert" });
  const chooser = (key, attributes) => {
    const input = el("input", { type: "file", class: "st-sr", multiple: true, tabindex: -1, "aria-label": t(key), ...attributes,
      onchange: () => send(listed(input.files)) });
    return [input, el("button", { type: "button", class: "st-button", onclick: () => input.click() }, t(key))];
  };
  const buttons = el("div", { class: "st-actions" },
    el("button", { type: "button", class: "st-button st-primary", id: "arrived-use",
      onclick: () => attempt(async () => { await commit(id, wishes.value()); done(); }) }, t("datasets.use_arrived")),
    chooser("datasets.rest_folder", { id: "rest-folder", webkitdirectory: true }), chooser("datasets.rest_files", { id: "rest-files" }));

  async function send(files) {
    problem.replaceChildren();
    buttons.hidden = true;
    try {
      await bring({ draft: id, name, files, wishes: wishes.value() }, new AbortController().signal, (share) =>
        say(status, share < 1 ? t("datasets.uploading", { percent: Math.round(share * 100) }) : t("datasets.importing")));
      done();
    } catch (error) {
      problem.replaceChildren(el("p", { class: "st-note st-note-bad" }, error.words ?? t("datasets.upload_failed")));
    } finally {
      buttons.hidden = false;
    }
  }
  return el("section", { class: "st-note", id: "arrived" }, el("strong", {}, t(report?.error ? "datasets.not_imported" : "datasets.broken_off")),
    el("p", {}, t("datasets.arrived", { count: whole(waiting) }), " ", t("datasets.arrived_help")), wishes.node, buttons, status, problem);
}
