// The notice under *Start training*: what the run will be and what is in its way.

import { el, t } from "./kit.js";
import { go } from "./app.js";

export function mount(root, bridge) {
  const place = root.querySelector(".st-live");
  place.setAttribute("aria-live", "polite");
  const draw = () => {
    const value = bridge.value();
    if (!value) { place.replaceChildren(el("p", { class: "st-quiet" }, t("train.checking"))); return; }
    place.replaceChildren(...content(value));
    mark(value.problems);
  };
  window.addEventListener("studio:use-dataset", (event) => {
    bridge.useDataset(event.detail);
    go({ view: "train" });
  });
  bridge.watch(draw);
  draw();
  nameFields();
  new MutationObserver(nameFields).observe(document.getElementById("page-train"), { childList: true, subtree: true });
}

/** Gradio's labels hold the help too: a field is called by its label alone, and described by its help. */
function nameFields() {
  for (const field of document.querySelectorAll("[id^='field-'], #run-name")) {
    const input = field.querySelector("input:not([aria-label]), textarea:not([aria-label])");
    const label = field.querySelector("[data-testid='block-info']");
    if (!input || !label) continue;
    input.setAttribute("aria-label", label.textContent.trim());
    const help = label.nextElementSibling;
    if (!help || help.contains(input)) continue;
    help.id ||= `${field.id}-help`;
    input.setAttribute("aria-describedby", help.id);
  }
}

function content({ problems, warnings, facts }) {
  const parts = [];
  if (problems.length) {
    const title = problems.length === 1 ? t("train.problems_one") : t("train.problems_many", { count: problems.length });
    parts.push(el("div", { class: "st-note st-note-bad", role: "alert" }, el("strong", {}, title),
      el("ul", {}, problems.map((p) => el("li", {},
        p.field ? el("button", { type: "button", class: "st-link", onclick: () => jump(p.field) }, p.label) : null,
        p.field ? `: ${p.message}` : p.message)))));
  }
  if (facts.length) {
    parts.push(el("dl", { class: "st-facts" },
      facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))));
  }
  if (warnings.length) {
    parts.push(el("div", { class: "st-note" }, el("strong", {}, t("train.warnings")),
      el("ul", {}, warnings.map((text) => el("li", {}, text)))));
  }
  if (!problems.length) parts.push(el("p", { class: "st-quiet" }, t("train.ready")));
  return parts;
}

const fieldOf = (path) => document.getElementById(`field-${path.replaceAll(".", "-")}`);

/** Open the group a field lies in and put the cursor there. */
function jump(path) {
  const field = fieldOf(path);
  if (!field) return;
  const group = field.closest(".st-groups .block:has(> button.label-wrap)") ?? null;
  const opener = group?.querySelector("button.label-wrap");
  if (opener && !opener.classList.contains("open")) opener.click();
  requestAnimationFrame(() => field.querySelector("input, textarea")?.focus());
}

function mark(problems) {
  const bad = new Set(problems.map((p) => fieldOf(p.field)));
  for (const field of document.querySelectorAll("[id^='field-']")) {
    const wrong = bad.has(field);
    field.classList.toggle("st-wrong", wrong);
    const input = field.querySelector("input, textarea");
    if (wrong) input?.setAttribute("aria-invalid", "true");
    else input?.removeAttribute("aria-invalid");
  }
}
