// Pictures from this computer: dropped or chosen, folders with their paths.

import { attempt, bytes, call, el, say, t, whole } from "./kit.js";
import { bring, commit } from "./send.js";

const KINDS = "image/*,.heic,.heif,.avif,.zip,.tar,.txt,.caption,.text,.tags,.json,.jsonl,.ndjson,.csv,.tsv,.parquet,.arrow";
const ENCODINGS = ["UTF-8", "UTF-16", "Shift-JIS", "EUC-JP", "GBK", "Big5", "EUC-KR", "Windows-1251", "KOI8-U", "Windows-1252", "Windows-1250",
  "Windows-1253", "Windows-1254", "Windows-1255", "Windows-1256", "Windows-1257", "Windows-1258", "Windows-874", "Mac Roman", "DOS 850"];

/** A form that uploads; `done` gets the new data set. */
export function uploader(done) {
  let files = [];
  let sending = null;
  let broken = null;  // the data set that holds what arrived of an upload which broke off
  const chosen = el("p", { class: "st-quiet", role: "status", "aria-live": "polite" });
  const bar = el("div", { class: "st-progress", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100,
    "aria-label": t("datasets.upload"), hidden: true }, el("i"));
  const problem = el("div", { role: "alert" });
  const input = el("input", { type: "file", multiple: true, id: "dataset-files", class: "st-sr",
    accept: KINDS, onchange: () => take(listed(input.files)) });
  const folder = el("input", { type: "file", webkitdirectory: true, id: "dataset-folder", class: "st-sr", tabindex: -1,
    "aria-label": t("datasets.choose_folder"), onchange: () => take(listed(folder.files)) });
  const name = el("input", { type: "text", id: "dataset-name", maxlength: 200, placeholder: t("datasets.name_empty"), autocomplete: "off" });
  const send = el("button", { type: "submit", class: "st-button st-primary", id: "dataset-upload" }, t("datasets.upload"));
  const stop = el("button", { type: "button", class: "st-button", id: "upload-cancel", hidden: true,
    onclick: () => sending?.abort() }, t("datasets.upload_cancel"));
  const use = el("button", { type: "button", class: "st-button", id: "upload-use", hidden: true,
    onclick: () => attempt(async () => done(await commit(broken.id, wishes.value()))) }, t("datasets.use_arrived"));
  const wishes = options();
  const zone = el("label", { class: "st-drop", for: "dataset-files",
    ondragover: (e) => { e.preventDefault(); zone.classList.add("st-over"); },
    ondragleave: () => zone.classList.remove("st-over"),
    ondrop: async (e) => { e.preventDefault(); zone.classList.remove("st-over"); take(await dropped(e.dataTransfer)); } },
    el("strong", {}, t("datasets.drop")), el("span", { class: "st-button" }, t("datasets.choose")), chosen);
  const byFolder = el("button", { type: "button", class: "st-button", id: "choose-folder", onclick: () => folder.click() },
    t("datasets.choose_folder"));

  function take(found) {
    files = found.filter(([path]) => !/(^|\/)(\.|__MACOSX)/.test(path));
    const size = bytes(files.reduce((sum, [, file]) => sum + file.size, 0));
    say(chosen, files.length === 1 ? t("datasets.chosen_one", { name: files[0][0], size })
      : t("datasets.chosen", { count: whole(files.length), size }));
    problem.replaceChildren();
  }

  async function submit(event) {
    event.preventDefault();
    problem.replaceChildren();
    if (!files.length) { warn(t("datasets.pick_first")); return; }
    send.disabled = true;
    bar.hidden = stop.hidden = false;
    use.hidden = true;
    sending = new AbortController();
    try {
      done(await bring({ draft: broken?.id, name: name.value.trim() || guessed(files), files, wishes: wishes.value() }, sending.signal, show));
    } catch (error) {
      if (sending.signal.aborted) cancelled();
      else await brokenOff(error);
    } finally {
      send.disabled = false;
      bar.hidden = stop.hidden = true;
    }
  }

  function cancelled() {
    broken = null;
    say(send, t("datasets.upload"));
    say(chosen, t("datasets.upload_cancelled"));
  }

  /** Say what arrived of the upload; the next press sends the rest. */
  async function brokenOff(error) {
    warn(error.words ?? t("datasets.upload_failed"));
    broken = error.draft ? await call(`datasets/${error.draft}`).then(({ data }) => data, () => ({ id: error.draft })) : null;
    use.hidden = !broken?.waiting;
    say(send, t(broken ? "datasets.send_rest" : "datasets.upload"));
    if (broken?.waiting) problem.append(el("p", { class: "st-quiet" }, t("datasets.arrived", { count: whole(broken.waiting) })));
  }

  function show(share) {
    const percent = Math.round(share * 100);
    bar.firstChild.style.width = `${percent}%`;
    bar.setAttribute("aria-valuenow", percent);
    say(chosen, percent < 100 ? t("datasets.uploading", { percent }) : t("datasets.importing"));
  }

  const warn = (words) => problem.replaceChildren(el("p", { class: "st-note st-note-bad" }, words));

  return el("form", { class: "st-upload", id: "upload", onsubmit: submit }, input, folder, zone, byFolder, bar, problem, wishes.node,
    el("div", { class: "st-inline-form" }, el("label", { for: "dataset-name" }, t("datasets.name"), name), stop, use, send));
}

/** How pictures are read: what lies under transparent parts, what stands in for a missing caption, and where the words are. */
export function options() {
  const column = el("input", { type: "text", maxlength: 200, autocomplete: "off", spellcheck: "false", placeholder: t("datasets.column_empty") });
  const encoding = el("select", {}, el("option", { value: "" }, t("datasets.encoding_told")), ENCODINGS.map((name) => el("option", { value: name }, name)));
  const background = el("input", { type: "color", value: "#ffffff" });
  const from = el("select", {}, [["nothing", "nothing"], ["file name", "file"], ["folder name", "folder"]].map(([value, key]) =>
    el("option", { value }, t(`datasets.caption_from_${key}`))));
  const node = el("details", { class: "st-options" }, el("summary", {}, t("datasets.options")),
    el("label", {}, t("datasets.caption_from"), from), el("label", {}, t("datasets.caption_column"), column),
    el("label", {}, t("datasets.encoding"), encoding), el("label", {}, t("datasets.background"), background));
  const value = () => ({ background: background.value, caption_from: from.value,
    ...(column.value.trim() ? { caption_column: column.value.trim() } : {}), ...(encoding.value ? { encoding: encoding.value } : {}) });
  return { node, value };
}

/** The name of the top folder that all files share, or of a file that came alone, without its ending; else nothing. */
function guessed(files) {
  const tops = new Set(files.map(([path]) => (path.includes("/") ? path.split("/")[0] : "")));
  const alone = files.length === 1 ? files[0][1].name.replace(/(\.tar)?\.\w+$/, "") : "";
  return tops.size === 1 ? [...tops][0] || alone : "";
}

/** The files of a field as [relative path, File]. */
export const listed = (files) => [...files].map((file) => [file.webkitRelativePath || file.name, file]);

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
