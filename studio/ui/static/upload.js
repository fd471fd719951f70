// Bringing pictures in: a drop zone and a file field, sent straight to the studio with progress.

import { address, bytes, el, fault, say, t } from "./kit.js";

/** A card that uploads; `done` gets the new data set. */
export function uploader(done) {
  let files = [];
  const chosen = el("p", { class: "st-quiet", role: "status", "aria-live": "polite" });
  const bar = el("div", { class: "st-progress", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100,
    "aria-label": t("datasets.upload"), hidden: true }, el("i"));
  const problem = el("div", { role: "alert" });
  const input = el("input", { type: "file", multiple: true, id: "dataset-files", class: "st-sr",
    accept: "image/*,.zip,.tar,.txt,.caption,.jsonl,.csv,.parquet", onchange: () => take(listed(input.files)) });
  const folder = el("input", { type: "file", webkitdirectory: true, id: "dataset-folder", class: "st-sr", tabindex: -1,
    "aria-label": t("datasets.choose_folder"), onchange: () => take(listed(folder.files)) });
  const name = el("input", { type: "text", id: "dataset-name", maxlength: 200, placeholder: t("datasets.name_empty"), autocomplete: "off" });
  const send = el("button", { type: "submit", class: "st-button st-primary", id: "dataset-upload" }, t("datasets.upload"));
  const zone = el("label", { class: "st-drop", for: "dataset-files",
    ondragover: (e) => { e.preventDefault(); zone.classList.add("st-over"); },
    ondragleave: () => zone.classList.remove("st-over"),
    ondrop: async (e) => { e.preventDefault(); zone.classList.remove("st-over"); take(await dropped(e.dataTransfer)); } },
    el("strong", {}, t("datasets.drop")), el("span", { class: "st-actions" },
      el("span", { class: "st-button" }, t("datasets.choose")),
      el("button", { type: "button", class: "st-button", id: "choose-folder", onclick: () => folder.click() }, t("datasets.choose_folder"))),
    chosen);
  const stop = el("button", { type: "button", class: "st-button", id: "upload-cancel", hidden: true,
    onclick: () => sending?.abort() }, t("datasets.upload_cancel"));
  let sending = null;

  function take(found) {
    files = found.filter(([path]) => !/(^|\/)(\.|__MACOSX)/.test(path));
    const size = bytes(files.reduce((sum, [, file]) => sum + file.size, 0));
    say(chosen, files.length === 1 ? t("datasets.chosen_one", { name: files[0][0], size })
      : t("datasets.chosen", { count: files.length, size }));
    problem.replaceChildren();
  }

  async function submit(event) {
    event.preventDefault();
    problem.replaceChildren();
    if (!files.length) { warn(t("datasets.pick_first")); return; }
    send.disabled = true;
    bar.hidden = stop.hidden = false;
    sending = new AbortController();
    try {
      done(await post(name.value.trim(), files, sending.signal, (share) => {
        const percent = Math.round(share * 100);
        bar.firstChild.style.width = `${percent}%`;
        bar.setAttribute("aria-valuenow", percent);
        say(chosen, percent < 100 ? t("datasets.uploading", { percent }) : t("datasets.importing"));
      }));
    } catch (error) {
      if (sending.signal.aborted) say(chosen, t("datasets.upload_cancelled"));
      else warn(error.words ?? t("datasets.upload_failed"));
    } finally {
      send.disabled = false;
      bar.hidden = stop.hidden = true;
    }
  }

  const warn = (words) => problem.replaceChildren(el("p", { class: "st-note st-note-bad" }, words));

  return el("form", { class: "st-card st-upload", id: "upload", onsubmit: submit },
    el("div", { class: "st-heading" }, el("h2", {}, t("datasets.new")), el("p", {}, t("datasets.new_help"))),
    input, folder, zone, bar, problem,
    el("div", { class: "st-inline-form" }, el("label", { for: "dataset-name" }, t("datasets.name"), name), stop, send));
}

/** The files of a field as [relative path, File]. */
const listed = (files) => [...files].map((file) => [file.webkitRelativePath || file.name, file]);

/** Send the files with their relative paths. Rejects with an ApiError, or an Error when the line broke. */
function post(name, files, signal, progress) {
  const form = new FormData();
  form.append("name", name);
  for (const [path, file] of files) form.append("files", file, path);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", address("api/datasets"));
    request.upload.addEventListener("progress", (e) => { if (e.lengthComputable) progress(e.loaded / e.total); });
    request.addEventListener("load", () => (request.status < 300 ? resolve(JSON.parse(request.responseText))
      : reject(fault(request.status, request.responseText))));
    request.addEventListener("error", () => reject(new Error("connection")));
    signal.addEventListener("abort", () => { request.abort(); reject(new Error("cancelled")); });
    request.send(form);
  });
}

/** Everything that was dropped, folders included, as [relative path, File]. */
async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files].map((file) => [file.name, file]);
  const found = [];
  for (const entry of entries) await walk(entry, "", found);
  return found;
}

async function walk(entry, folder, found) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    found.push([folder + entry.name, file]);
    return;
  }
  const reader = entry.createReader();
  for (;;) {  // a reader gives a folder in portions
    const portion = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!portion.length) return;
    for (const child of portion) await walk(child, `${folder}${entry.name}/`, found);
  }
}
