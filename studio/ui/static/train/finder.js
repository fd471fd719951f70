// @ts-check
// Finding a setting by a word of its name, its help or its name in the reference script.

import { button, call, el, t } from "../kit/kit.js";
import { placeIn } from "../kit/pieces.js";
import { fieldOf, jump } from "./jump.js";
import { foundBy } from "./rank.js";

/** @import { Findable } from "./rank.js" */
/** @typedef {Findable & { title: string }} Setting */

const MOST = 8;
const SHORTEST = 2; // letters of a word that is looked for

/** @param {Element} root */
export async function mount(root) {
  const place = placeIn(root);
  const settings = await settingsOfForm();
  const list = el("ul", { class: "st-found", id: "found-settings" });
  const input = el("input", {
    type: "search",
    id: "find-setting",
    "aria-label": t("train.find"),
    placeholder: t("train.find"),
    autocomplete: "off",
    oninput: ({ currentTarget }) => show(currentTarget.value.trim().toLowerCase()),
  });
  /** @param {string} word */
  const show = (word) => {
    const looks = word.length >= SHORTEST;
    const hits = looks ? foundBy(settings, word, MOST) : [];
    const none = el("li", { class: "st-quiet" }, t("train.find_nothing"));
    list.replaceChildren(...hits.map(hit), looks && !hits.length ? none : "");
  };
  place.replaceChildren(input, list);
}

/** The settings that the form has, with their words in the page's language. */
async function settingsOfForm() {
  const { data } = await call("config/schema");
  const settings = data.sections.flatMap(({ name, fields }) => {
    const inForm = fields.filter((field) => fieldOf(field.path) || !field.basic);
    const title = t(`section.${name}`);
    return inForm.map(({ path, reference }) => ({
      path,
      reference,
      title,
      label: t(`setting.${path}`),
      help: t(`setting.${path}.help`),
    }));
  });
  return settings;
}

/** @param {Setting} setting */
function hit({ path, label, title }) {
  const way = button(label, { class: "st-link", onclick: () => jump(path) });
  return el("li", {}, way, el("small", {}, ` ${title} · ${path}`));
}
