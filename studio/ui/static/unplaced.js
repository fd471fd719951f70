// Under a pasted command: what of it has no place here, and why.

import { el, t } from "./kit.js";

export function mount(root, bridge) {
  const place = root.querySelector(".st-live");
  place.setAttribute("aria-live", "polite");
  const draw = () => {
    const value = bridge.value();
    place.replaceChildren(...(value ? content(value) : []));
  };
  bridge.watch(draw);
  draw();
}

function content({ problems, unplaced }) {
  if (problems) {
    return [el("div", { class: "st-note st-note-bad", role: "alert" }, problems.map((p) => el("p", {}, p.message)))];
  }
  if (!unplaced.length) return [el("p", { class: "st-quiet" }, t("train.paste_all"))];
  return [el("div", { class: "st-note", id: "unplaced-options" }, el("strong", {}, t("train.paste_left")),
    el("ul", {}, unplaced.map(({ option, value, why }) => el("li", {},
      el("code", {}, [option, typeof value === "boolean" ? null : value].filter((part) => part !== null).join(" ")),
      `: ${why}`))))];
}
