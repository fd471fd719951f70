// The notice under *Start training*: what the run will be and what is in its way. Files dropped on the page bring
// their settings back.

import { ApiError, bytes, call, duration, el, number, t, toast, whole } from "./kit.js";
import { go } from "./app.js";
import { presetOf, settingsOf } from "./recipe.js";

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
    bridge.send("use_dataset", { id: event.detail });
    go({ view: "train" });
  });
  window.addEventListener("studio:use-config", ({ detail: { config, field } }) => {
    bridge.send("use_config", { text: JSON.stringify(config) });
    go({ view: "train" });
    if (field) jump(field);
  });
  bridge.watch(draw);
  draw();
  nameFields();
  const refused = el("div", { id: "preset-refused" });
  place.before(refused);
  takeFiles(document.getElementById("page-train"), bridge, refused);
  new MutationObserver(nameFields).observe(document.getElementById("page-train"), { childList: true, subtree: true });
}

/** A weight file that was taken home, or a config as JSON, dropped anywhere on the page fills the form. */
function takeFiles(page, bridge, refused) {
  const files = (event) => event.dataTransfer?.types.includes("Files");
  page.addEventListener("dragover", (event) => { if (files(event)) event.preventDefault(); });
  page.addEventListener("drop", async (event) => {
    if (!files(event)) return;
    event.preventDefault();
    const [file] = event.dataTransfer.files;
    const text = await settingsOf(file).catch(() => null);
    if (text === null) { toast(t("train.drop_nothing", { name: file.name })); return; }
    const preset = presetOf(text);
    if (preset) { await take(preset, refused, bridge); return; }
    bridge.send("use_config", { text });
    toast(t("train.drop_taken", { name: file.name }));
  });
}

/** Keep somebody else's preset; what this studio cannot take of it is named, setting by setting. */
async function take({ name, config }, refused, bridge) {
  refused.replaceChildren();
  try {
    await call("presets", { method: "POST", body: { name, config } });
    bridge.send("presets_changed", {});
    window.dispatchEvent(new Event("studio:presets")); // to the list, where its group has been opened
    toast(t("train.preset_taken", { name }));
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    const lines = error.problems.map(({ field, message }) => `${field}: ${message}`);
    refused.replaceChildren(el("div", { class: "st-note st-note-bad", role: "alert" },
      el("strong", {}, t("train.preset_refused", { name: name ?? "" })),
      el("ul", {}, (lines.length ? lines : [error.words]).map((line) => el("li", {}, line)))));
  }
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

function content({ problems, warnings, facts, estimate }) {
  const parts = [];
  if (problems.length) {
    const title = problems.length === 1 ? t("train.problems_one") : t("train.problems_many", { count: problems.length });
    parts.push(el("div", { class: "st-note st-note-bad", role: "alert" }, el("strong", {}, title),
      el("ul", {}, problems.map((p) => el("li", {},
        p.field ? el("button", { type: "button", class: "st-link", onclick: () => jump(p.field) }, t(`setting.${p.field}`)) : null,
        p.field ? `: ${p.message}` : p.message, ...(p.field === "data.dataset" ? [" ", importIt()] : []))))));
  }
  if (facts) parts.push(glance(facts));
  if (estimate) parts.push(estimated(estimate));
  if (warnings.length) {
    parts.push(el("div", { class: "st-note" }, el("strong", {}, t("train.warnings")),
      el("ul", {}, warnings.map((text) => el("li", {}, text)))));
  }
  if (!problems.length) parts.push(el("p", { class: "st-quiet" }, t("train.ready")));
  return parts;
}

/** The way to import the Hub data set that was written into the field, where it is one. */
function importIt() {
  const name = document.querySelector("#field-data-dataset input")?.value.trim() ?? "";
  return /^[\w.-]+\/[\w.-]+$/.test(name)
    ? el("a", { href: `?${new URLSearchParams({ view: "datasets", hub: name })}`, id: "import-it", class: "st-link" }, t("train.import_it", { name })) : null;
}

/** The run in a few words. */
function glance({ method, rank, steps, batch, side, lr, precision }) {
  const rows = { method: t(`train.method_${method}`, { rank }), steps: whole(steps), batch: whole(batch),
    seen: whole(batch * steps), side: t("train.pixels", { side }), lr: number(lr), precision };
  return el("dl", { class: "st-facts" }, Object.entries(rows).map(([name, value]) =>
    el("div", {}, el("dt", {}, t(`train.fact_${name}`)), el("dd", {}, value))));
}

/** What the run will take, each figure with what it is taken from. */
function estimated({ seconds, time_basis: time, memory_bytes: memory, memory_basis: basis, disk_bytes: disk, source }) {
  const row = (name, value, note) => el("div", {}, el("dt", {}, t(name)), el("dd", {}, value, el("small", {}, note)));
  const from = { name: source?.name ?? "" };
  return el("dl", { class: "st-facts st-estimate", id: "estimate" },
    row("train.estimate_time", seconds === null ? "–" : t("train.about", { value: duration(seconds) }),
      t(`train.estimate_time_${time}`, from)),
    memory ? row("train.estimate_memory", t(basis === "weights" ? "train.at_least" : "train.about", { value: bytes(memory) }),
      t(`train.estimate_memory_${basis}`, from)) : "",
    disk ? row("train.estimate_disk", t("train.up_to", { value: bytes(disk) }), t("train.estimate_disk_note")) : "");
}

const fieldOf = (path) => document.getElementById(`field-${path.replaceAll(".", "-")}`);

/** Open the group a field lies in and put the cursor there; a closed group's fields are drawn when it opens. */
export function jump(path, tries = 60) {
  const field = fieldOf(path);
  const opener = document.querySelector(`#group-${path.split(".")[0]} button.label-wrap`);
  const hidden = !field?.offsetParent;
  if (hidden && opener && !opener.classList.contains("open")) opener.click();
  if (hidden && tries) { requestAnimationFrame(() => jump(path, tries - 1)); return; }
  field?.scrollIntoView({ block: "center" });
  field?.querySelector("input, textarea")?.focus({ preventScroll: true });
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
