// @ts-check
// The card *Add pictures*: from this computer, from the Hub after a look at its rows, or from a folder of the server.

import { attempt, call, el, t } from "../kit/kit.js";
import { hold, submitting } from "../kit/pieces.js";
import { noted } from "../kit/route.js";
import { field } from "./field.js";
import { hub } from "./hub.js";
import { options } from "./options.js";
import { uploader } from "./upload.js";

/** @import { Dataset } from "../../types/api.js" */
/** @typedef {(set: Dataset) => void} Done */

/** The card; `done` gets the new data set. @param {Done} done */
export function adder(done) {
  const ofFolder = folder(done);
  /** @type {Record<string, HTMLFormElement>} */
  const forms = { upload: uploader(done), hub: hub(done), folder: ofFolder.node };
  const buttons = Object.keys(forms).map((name) =>
    el(
      "button",
      { type: "button", id: `source-${name}`, "aria-pressed": String(name === "upload"), onclick: () => show(name) },
      t(`sources.${name}`),
    ),
  );
  /** @param {string} shown */
  const show = (shown) => {
    for (const one of buttons) one.setAttribute("aria-pressed", String(one.id === `source-${shown}`));
    for (const [name, form] of Object.entries(forms)) form.hidden = name !== shown;
  };
  show(noted("hub") ? "hub" : "upload");
  const folderTab = buttons[buttons.length - 1];
  folderTab.hidden = true; // until the studio says that it has folders to import from
  attempt(async () => {
    const roots = (await call("session")).data.import_roots ?? [];
    folderTab.hidden = !roots.length;
    if (roots.length) ofFolder.path.placeholder = roots[0];
  });
  const tabs = { class: "st-switch", role: "group", "aria-label": t("sources.title") };
  return el(
    "section",
    { class: "st-card st-upload" },
    el("div", { class: "st-heading" }, el("h2", {}, t("datasets.new")), el("p", {}, t("datasets.new_help"))),
    el("div", tabs, ...buttons),
    ...Object.values(forms),
  );
}

/** The form for a folder of the server. @param {Done} done */
function folder(done) {
  const { input: path, row } = field("folder_path", { id: "folder-path", required: true });
  const problem = el("div", { role: "alert" });
  const wishes = options();
  const primary = { type: "submit", class: "st-button st-primary", id: "folder-import" };
  const send = el("button", primary, t("sources.folder_import"));
  const bring = async () => {
    const source = { kind: "folder", path: path.value.trim() };
    const body = { name: "", source, ...wishes.value() };
    done((await call("datasets", { method: "POST", body })).data);
  };
  const form = { class: "st-upload", id: "folder-form", onsubmit: submitting(() => hold(send, problem, bring)) };
  return { path, node: el("form", form, row, wishes.node, problem, send) };
}
