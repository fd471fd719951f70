// The card *Add pictures*: from this computer, from the Hub after a look at its rows, or from a folder of the studio's machine.

import { noted } from "./app.js";
import { attempt, call, el, t, whole } from "./kit.js";
import { options, uploader } from "./upload.js";

/** The card; `done` gets the new data set. */
export function adder(done) {
  const forms = { upload: uploader(done), hub: hub(done), folder: folder(done) };
  const tabs = el("div", { class: "st-switch", role: "group", "aria-label": t("sources.title") }, Object.keys(forms).map((name) =>
    el("button", { type: "button", id: `source-${name}`, "aria-pressed": String(name === "upload"), onclick: () => show(name) }, t(`sources.${name}`))));
  const show = (name) => {
    for (const button of tabs.children) button.setAttribute("aria-pressed", String(button.id === `source-${name}`));
    for (const [key, form] of Object.entries(forms)) form.hidden = key !== name;
  };
  show(noted("hub") ? "hub" : "upload");
  tabs.lastChild.hidden = true;  // until the studio says that it has folders to import from
  attempt(async () => {
    const { import_roots: roots } = (await call("session")).data;
    tabs.lastChild.hidden = !roots?.length;
    if (roots?.length) forms.folder.querySelector("input").placeholder = roots[0];
  });
  return el("section", { class: "st-card st-upload" },
    el("div", { class: "st-heading" }, el("h2", {}, t("datasets.new")), el("p", {}, t("datasets.new_help"))), tabs, ...Object.values(forms));
}

const field = (key, attributes = {}) => {
  const input = el("input", { type: "text", autocomplete: "off", spellcheck: "false", ...attributes });
  return [input, el("label", {}, t(`sources.${key}`), input)];
};

/** Run an action of a form with its button held; what goes wrong is said in the form. */
export async function hold(button, problem, action) {
  problem.replaceChildren();
  button.disabled = true;
  try {
    await action();
  } catch (error) {
    problem.replaceChildren(el("p", { class: "st-note st-note-bad" }, error.words ?? t("app.reconnecting")));
  } finally {
    button.disabled = false;
  }
}

function hub(done) {
  const [name, nameRow] = field("hub_name", { id: "hub-name", required: true, placeholder: "user/name", value: noted("hub") ?? "" });
  const rare = ["config", "split", "revision", "data_dir", "data_files", "max_rows"].map((key) => [key, ...field(`hub_${key}`)]);
  const [token, tokenRow] = field("hub_token", { type: "password", autocomplete: "off" });
  const [problem, shown, wishes] = [el("div", { role: "alert" }), el("div", { id: "hub-preview" }), options()];
  const look = el("button", { type: "submit", class: "st-button", id: "hub-look" }, t("sources.hub_look"));
  let columns = null;

  const wish = () => {
    const found = { kind: "hub", name: name.value.trim(), ...columns?.value() };
    for (const [key, input] of rare) if (input.value.trim()) found[key] = input.value.trim();
    if (found.data_files) found.data_files = found.data_files.split(/[\s,]+/);
    if (found.max_rows) found.max_rows = Number(found.max_rows);
    if (token.value) found.token = token.value;
    return found;
  };
  const preview = () => hold(look, problem, async () => {
    const { data } = await call("datasets/preview", { method: "POST", body: { source: wish() } });
    columns = columnsOf(data, () => preview());
    shown.replaceChildren(...rows(data), columns.node, el("button", { type: "button", class: "st-button st-primary", id: "hub-import",
      onclick: (event) => hold(event.currentTarget, problem, async () => done((await call("datasets",
        { method: "POST", body: { name: "", source: wish(), ...wishes.value() } })).data)) }, t("sources.hub_import")));
  });
  return el("form", { class: "st-upload", id: "hub-form", onsubmit: (event) => { event.preventDefault(); columns = null; preview(); } },
    nameRow, el("details", { class: "st-options" }, el("summary", {}, t("sources.hub_more")), rare.map(([, , row]) => row), tokenRow),
    wishes.node, problem, look, shown);
}

/** The columns that pictures and captions are taken from, guessed and changeable. */
function columnsOf({ columns, image, caption, table }, changed) {
  const choose = (id, chosen) => el("select", { id, onchange: changed }, Object.entries(columns ?? {}).map(([name, kind]) =>
    el("option", { value: name, selected: name === chosen }, t("sources.hub_column", { name, kind }))));
  if (table === false || !Object.keys(columns ?? {}).length) return { node: "", value: () => ({}) };
  const [picture, text] = [choose("hub-image", image), choose("hub-caption", caption)];
  text.prepend(el("option", { value: "", selected: !caption }, t("sources.hub_no_caption")));
  return { value: () => ({ image_column: picture.value, caption_column: text.value }),
    node: el("div", { class: "st-two" }, el("label", {}, t("sources.hub_image"), picture), el("label", {}, t("sources.hub_caption"), text)) };
}

function rows({ rows: found, splits, total, private: own, gated }) {
  const facts = [total ? t("sources.hub_total", { count: whole(total) }) : null,
    ...Object.entries(splits ?? {}).map(([name, count]) => (count ? t("datasets.split", { name, count: whole(count) }) : name)),
    own ? t("sources.hub_private") : null, gated ? t("sources.hub_gated") : null].filter(Boolean);
  return [el("p", { class: "st-quiet" }, facts.join(" · ")),
    el("ul", { class: "st-examples" }, found.slice(0, 6).map((row) => el("li", {},
      row.thumb ? el("img", { src: row.thumb, alt: "" }) : el("span", { class: "st-quiet" }, row.problem ?? ""),
      el("span", {}, row.captions.filter(Boolean).join(" / ") || t("datasets.caption_empty")))))];
}

function folder(done) {
  const [path, row] = field("folder_path", { id: "folder-path", required: true });
  const [problem, wishes] = [el("div", { role: "alert" }), options()];
  const send = el("button", { type: "submit", class: "st-button st-primary", id: "folder-import" }, t("sources.folder_import"));
  return el("form", { class: "st-upload", id: "folder-form", onsubmit: (event) => {
    event.preventDefault();
    hold(send, problem, async () => done((await call("datasets", { method: "POST",
      body: { name: "", source: { kind: "folder", path: path.value.trim() }, ...wishes.value() } })).data));
  } }, row, wishes.node, problem, send);
}
