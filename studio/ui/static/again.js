// Words of an import that did not arrive, or in a doubtful encoding: what a person can answer, each by one click.

import { attempt, call, el, t, whole } from "./kit.js";

/** The head of an import's report as elements; `again` reads the words anew by the wishes it is given. */
export function answers({ id, report, can_read_again: can, read_only: shipped }, changed) {
  const ask = (wishes) => attempt(async () => {
    await call(`datasets/${id}/read-again`, { method: "POST", body: wishes });
    changed();
  });
  const may = can && !shipped;
  const asks = (report?.asks ?? []).flatMap((one, at) => [at ? el("p", {}, one.message) : null, question(one, may, ask)]).filter(Boolean);
  const codes = (report?.encodings ?? []).map((one) => encoding(one, may, ask, report.read_as?.encoding));
  const parts = [];
  if (report?.headline) {
    parts.push(el("section", { class: "st-note st-note-warn", id: "import-headline", role: "status" }, el("strong", {}, t("datasets.no_words")),
      el("p", {}, report.headline), ...asks));
  }
  if (codes.length) parts.push(el("section", { class: "st-note", id: "import-encodings" }, el("strong", {}, t("datasets.encodings")), ...codes));
  return parts;
}

function question({ kind, file, columns }, may, ask) {
  if (!may) return null;
  if (kind === "folder name") return choice(t("datasets.use_folder_name"), () => ask({ caption_from: "folder name" }));
  if (!["column", "image_column"].includes(kind) || !columns.length) return null;
  const wish = kind === "column" ? "caption_column" : "image_column";
  const label = t(`datasets.which_${wish}`, { file: file || t("datasets.any_table") });
  const list = el("select", { "aria-label": label }, columns.map(({ name, sample }) =>
    el("option", { value: name }, sample ? t("datasets.column_sample", { name, sample }) : name)));
  return el("div", { class: "st-answer" }, el("label", {}, label, list),
    el("button", { type: "button", class: "st-button st-primary", onclick: () => ask({ [wish]: list.value }) }, t("datasets.take_column")));
}

/** One encoding that the words are in: a sample, and what they would be in others. */
function encoding({ encoding: name, files, sure, file, sample, others }, may, ask, asked) {
  const words = t(sure || asked ? "datasets.encoding_is" : "datasets.encoding_guessed", { count: whole(files), encoding: name, file });
  const list = others.length && may ? el("details", { open: !sure && !asked }, el("summary", {}, t("datasets.encoding_wrong")),
    el("ul", { class: "st-readings" }, others.map((other) => el("li", {}, el("span", { dir: "auto" }, other.sample),
      el("button", { type: "button", class: "st-button", onclick: () => ask({ encoding: other.encoding }) },
        t("datasets.read_as", { encoding: other.encoding })))))) : null;
  return el("div", { class: "st-encoding" }, el("p", {}, words), el("p", { class: "st-sample-text", dir: "auto" }, sample), list);
}

const choice = (words, onclick) => el("div", { class: "st-answer" }, el("button", { type: "button", class: "st-button st-primary", onclick }, words));
