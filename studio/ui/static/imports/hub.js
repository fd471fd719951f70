// @ts-check
// The form for a data set of the Hub: a look at its first rows, then the import.

import { button, call, el, t, whole } from "../kit/kit.js";
import { hold, submitting } from "../kit/pieces.js";
import { noted } from "../kit/route.js";
import { field } from "./field.js";
import { options } from "./options.js";

/** @import { Dataset, HubPreview } from "../../types/api.js" */

const RARE = ["config", "split", "revision", "data_dir", "data_files", "max_rows"];
const EXAMPLES = 6;

/** @param {(set: Dataset) => void} done */
export function hub(done) {
  const source = sourceFields();
  const wishes = options();
  const problem = el("div", { role: "alert" });
  const shown = el("div", { id: "hub-preview" });
  const look = el("button", { type: "submit", class: "st-button", id: "hub-look" }, t("sources.hub_look"));
  /** The columns that a person may have changed; null before the first look. @type {Columns | null} */
  let columns = null;

  const asked = () => ({ ...source.value(), ...columns?.value() });
  const bring = async () => {
    const body = { name: "", source: asked(), ...wishes.value() };
    done((await call("datasets", { method: "POST", body })).data);
  };
  const preview = () =>
    hold(look, problem, async () => {
      const { data } = await call("datasets/preview", { method: "POST", body: { source: asked() } });
      columns = columnsOf(data, preview);
      const take = button(t("sources.hub_import"), {
        class: "st-button st-primary",
        id: "hub-import",
        onclick: ({ currentTarget }) => hold(currentTarget, problem, bring),
      });
      shown.replaceChildren(...rows(data), columns.node, take);
    });
  const lookAnew = () => {
    columns = null;
    preview();
  };
  return el(
    "form",
    { class: "st-upload", id: "hub-form", onsubmit: submitting(lookAnew) },
    ...source.nodes,
    wishes.node,
    problem,
    look,
    shown,
  );
}

/** Which data set, and what of it; `value()` is the API's. */
function sourceFields() {
  const text = { id: "hub-name", required: true, placeholder: "user/name", value: noted("hub") ?? "" };
  const name = field("hub_name", text);
  const token = field("hub_token", { type: "password", autocomplete: "off" });
  const rare = RARE.map((key) => ({ key, ...field(`hub_${key}`) }));
  const more = el("summary", {}, t("sources.hub_more"));
  const nodes = [name.row, el("details", { class: "st-options" }, more, ...rare.map(({ row }) => row), token.row)];
  const value = () => {
    /** @type {Record<string, string | number | string[]>} */
    const source = { kind: "hub", name: name.input.value.trim() };
    for (const { key, input } of rare) {
      const text = input.value.trim();
      if (text) source[key] = parsed(key, text);
    }
    if (token.input.value) source.token = token.input.value;
    return source;
  };
  return { nodes, value };
}

/** @param {string} key @param {string} text */
function parsed(key, text) {
  if (key === "data_files") return text.split(/[\s,]+/);
  return key === "max_rows" ? Number(text) : text;
}

/** @typedef {{ node: HTMLElement | string, value: () => object }} Columns */

/** The columns that pictures and captions are taken from, guessed and changeable.
 * @param {HubPreview} preview @param {() => void} changed @returns {Columns} */
function columnsOf({ columns = {}, image, caption, table }, changed) {
  const all = Object.entries(columns);
  if (table === false || !all.length) return { node: "", value: () => ({}) };
  /** @param {string} id @param {string | null} chosen */
  const choose = (id, chosen) => {
    const choices = all.map(([name, kind]) => {
      const words = t("sources.hub_column", { name, kind });
      return el("option", { value: name, selected: name === chosen }, words);
    });
    return el("select", { id, onchange: changed }, ...choices);
  };
  const picture = choose("hub-image", image);
  const text = choose("hub-caption", caption);
  text.prepend(el("option", { value: "", selected: !caption }, t("sources.hub_no_caption")));
  const node = el(
    "div",
    { class: "st-two" },
    el("label", {}, t("sources.hub_image"), picture),
    el("label", {}, t("sources.hub_caption"), text),
  );
  return { node, value: () => ({ image_column: picture.value, caption_column: text.value }) };
}

/** What was seen: facts in a line, and the first rows. @param {HubPreview} preview */
function rows({ rows, splits, total, private: secret, gated }) {
  const facts = total ? [t("sources.hub_total", { count: whole(total) })] : [];
  for (const [name, count] of Object.entries(splits ?? {})) {
    facts.push(count ? t("datasets.split", { name, count: whole(count) }) : name);
  }
  if (secret) facts.push(t("sources.hub_private"));
  if (gated) facts.push(t("sources.hub_gated"));
  const examples = rows.slice(0, EXAMPLES).map(example);
  return [el("p", { class: "st-quiet" }, facts.join(" · ")), el("ul", { class: "st-examples" }, ...examples)];
}

/** @param {HubPreview["rows"][number]} row */
function example({ thumb, problem, captions }) {
  const none = el("span", { class: "st-quiet" }, problem ?? "");
  const picture = thumb ? el("img", { src: thumb, alt: "" }) : none;
  return el("li", {}, picture, el("span", {}, captions.filter(Boolean).join(" / ") || t("datasets.caption_empty")));
}
