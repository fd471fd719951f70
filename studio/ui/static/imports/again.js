// @ts-check
// Words of an import that did not arrive, or in a doubtful encoding: what a person can answer, each by one click.

import { attempt, button, call, el, t, whole } from "../kit/kit.js";

/** @import { Ask, Dataset, EncodingFound } from "../../types/api.js" */
/** @typedef {(wishes: object) => unknown} ReadAgain */

/** The head of an import's report as elements; `changed` is called when the words were read anew.
 * @param {Dataset} set @param {() => void} changed */
export function answers({ id, report, can_read_again: can, read_only: shipped }, changed) {
  /** @type {ReadAgain} */
  const ask = (wishes) =>
    attempt(async () => {
      await call(`datasets/${id}/read-again`, { method: "POST", body: wishes });
      changed();
    });
  const again = can && !shipped ? ask : null;
  const parts = [];
  if (report?.headline) parts.push(headline(report.headline, report.asks ?? [], again));
  if (report?.encodings?.length) {
    const asked = Boolean(report.read_as?.encoding);
    const read = report.encodings.map((one) => encoding(one, asked, again));
    const title = el("strong", {}, t("datasets.encodings"));
    parts.push(el("section", { class: "st-note", id: "import-encodings" }, title, ...read));
  }
  return parts;
}

/** What was missed, and the questions about it. @param {string} words @param {Ask[]} asks
 * @param {ReadAgain | null} again */
function headline(words, asks, again) {
  const questions = asks.flatMap((ask, place) => {
    const further = place ? [el("p", {}, ask.message)] : []; // the first one's message is the headline
    return [...further, again ? question(ask, again) : null];
  });
  const attributes = { class: "st-note st-note-warn", id: "import-headline", role: "status" };
  return el("section", attributes, el("strong", {}, t("datasets.no_words")), el("p", {}, words), ...questions);
}

/** A question as what answers it; null for one that no click answers. @param {Ask} ask @param {ReadAgain} again */
function question({ kind, file, columns }, again) {
  if (kind === "folder name") {
    const use = { class: "st-button st-primary", onclick: () => again({ caption_from: kind }) };
    return el("div", { class: "st-answer" }, button(t("datasets.use_folder_name"), use));
  }
  if (!["column", "image_column"].includes(kind) || !columns.length) return null;
  const wish = kind === "column" ? "caption_column" : "image_column";
  const label = t(`datasets.which_${wish}`, { file: file || t("datasets.any_table") });
  const options = columns.map(({ name, sample }) => {
    const words = sample ? t("datasets.column_sample", { name, sample }) : name;
    return el("option", { value: name }, words);
  });
  const list = el("select", { "aria-label": label }, ...options);
  const take = { class: "st-button st-primary", onclick: () => again({ [wish]: list.value }) };
  return el("div", { class: "st-answer" }, el("label", {}, label, list), button(t("datasets.take_column"), take));
}

/** One encoding that the words are in: a sample, and what they would be in others.
 * @param {EncodingFound} read @param {boolean} asked whether a person asked for it @param {ReadAgain | null} again */
function encoding({ encoding: name, files, sure, file, sample, others }, asked, again) {
  const certain = sure || asked;
  const key = certain ? "datasets.encoding_is" : "datasets.encoding_guessed";
  return el(
    "div",
    { class: "st-encoding" },
    el("p", {}, t(key, { count: whole(files), encoding: name, file })),
    el("p", { class: "st-sample-text", dir: "auto" }, sample),
    others.length && again ? otherReadings(others, !certain, again) : null,
  );
}

/** @param {EncodingFound["others"]} others @param {boolean} open @param {ReadAgain} again */
function otherReadings(others, open, again) {
  const rows = others.map(({ encoding: name, sample }) => {
    const words = t("datasets.read_as", { encoding: name });
    const choose = button(words, { onclick: () => again({ encoding: name }) });
    return el("li", {}, el("span", { dir: "auto" }, sample), choose);
  });
  const title = el("summary", {}, t("datasets.encoding_wrong"));
  return el("details", { open }, title, el("ul", { class: "st-readings" }, ...rows));
}
