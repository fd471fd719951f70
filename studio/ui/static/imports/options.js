// @ts-check
// How pictures are read: the colour under transparent parts, what stands in for a missing caption, where words are.

import { FACTS, LONGEST } from "../kit/facts.js";
import { el, t } from "../kit/kit.js";

/** @import { Wishes } from "./send.js" */

const WHITE = "#ffffff";

/** The fields, and `value()`: what they say as the API has it. */
export function options() {
  const column = el("input", {
    type: "text",
    maxlength: LONGEST.column,
    autocomplete: "off",
    spellcheck: "false",
    placeholder: t("datasets.column_empty"),
  });
  const encodings = FACTS.encodings.map((name) => el("option", { value: name }, name));
  const encoding = el("select", {}, el("option", { value: "" }, t("datasets.encoding_told")), ...encodings);
  const background = el("input", { type: "color", value: WHITE });
  const sources = FACTS.caption_sources.map((value) => el("option", { value }, t(keyOf(value))));
  const from = el("select", {}, ...sources);
  const node = el(
    "details",
    { class: "st-options" },
    el("summary", {}, t("datasets.options")),
    el("label", {}, t("datasets.caption_from"), from),
    el("label", {}, t("datasets.caption_column"), column),
    el("label", {}, t("datasets.encoding"), encoding),
    el("label", {}, t("datasets.background"), background),
  );
  const value = () => {
    /** @type {Wishes} */
    const wishes = { background: background.value, caption_from: from.value };
    if (column.value.trim()) wishes.caption_column = column.value.trim();
    if (encoding.value) wishes.encoding = encoding.value;
    return wishes;
  };
  return { node, value };
}

/** The text of a source of captions, by its first word. @param {string} source such as "file name" */
const keyOf = (source) => `datasets.caption_from_${source.split(" ")[0]}`;
