// Finding a setting by a word of its name, its help or its name in the reference script.

import { call, el, t } from "./kit.js";
import { jump } from "./train.js";

const MOST = 8;

export async function mount(root) {
  const place = root.querySelector(".st-live");
  const { data } = await call("config/schema");
  const fields = data.sections.flatMap((section) => section.fields.map((field) => ({ ...field,
    label: t(`setting.${field.path}`), help: t(`setting.${field.path}.help`), title: t(`section.${section.name}`) })))
    .filter((field) => document.getElementById(`field-${field.path.replaceAll(".", "-")}`) || !field.basic);
  const found = el("ul", { class: "st-found", id: "found-settings" });
  const input = el("input", { type: "search", id: "find-setting", "aria-label": t("train.find"),
    placeholder: t("train.find"), autocomplete: "off", oninput: () => show(input.value.trim().toLowerCase()) });
  const show = (word) => {
    const hits = word.length < 2 ? [] : fields.map((field) => [rank(field, word), field]).filter(([at]) => at >= 0)
      .sort(([a], [b]) => a - b).slice(0, MOST);
    found.replaceChildren(...hits.map(([, field]) => el("li", {}, el("button", { type: "button", class: "st-link",
      onclick: () => jump(field.path) }, field.label), el("small", {}, ` ${field.title} · ${field.path}`))),
    ...(word.length >= 2 && !hits.length ? [el("li", { class: "st-quiet" }, t("train.find_nothing"))] : []));
  };
  place.replaceChildren(input, found);
}

/** How well a field fits: 0 its name, 1 its path or reference name, 2 its help; -1 not at all. */
function rank(field, word) {
  return [[field.label], [field.path, field.reference], [field.help]]
    .findIndex((texts) => texts.some((text) => text?.toLowerCase().includes(word)));
}
