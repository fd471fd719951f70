// @ts-check
// The dialog that pushes a data set to the Hub; the job's progress and address then show on the page.

import { button, call, el, t } from "../kit/kit.js";
import { hold, submitting } from "../kit/pieces.js";

/** @import { Job } from "../../types/api.js" */

/** Ask for the repository, and start; `started` is told the job. The token is sent once and kept nowhere.
 * @param {string} id of the data set @param {(job: Job) => void} started */
export function push(id, started) {
  /** @param {string} name @param {HTMLElement} input */
  const field = (name, input) => el("label", { class: "st-stacked" }, el("span", {}, t(`push.${name}`)), input);
  const repo = el("input", {
    type: "text",
    id: "push-repo",
    maxlength: 190,
    autocomplete: "off",
    spellcheck: "false",
    placeholder: t("push.repo_empty"),
  });
  const isPrivate = el("input", { type: "checkbox", id: "push-private", checked: true });
  const token = el("input", { type: "password", id: "push-token", autocomplete: "new-password", maxlength: 4000 });
  const problem = el("div", { role: "alert" });
  const go = el("button", { type: "submit", class: "st-button st-primary", id: "push-go" }, t("push.go"));
  const close = () => {
    token.value = "";
    dialog.close();
    dialog.remove();
  };
  const send = () =>
    hold(go, problem, async () => {
      const secret = token.value.trim();
      const body = { repo: repo.value.trim(), private: isPrivate.checked, ...(secret ? { token: secret } : {}) };
      const { data } = await call(`datasets/${id}/push`, { method: "POST", body });
      close();
      started(data);
    });
  const form = el(
    "form",
    { onsubmit: submitting(send) },
    el("h2", { id: "push-title" }, t("push.title")),
    el("p", { class: "st-quiet" }, t("push.help")),
    field("repo", repo),
    field("token", token),
    el("label", { class: "st-check" }, isPrivate, el("span", {}, t("push.private"))),
    problem,
    el("div", { class: "st-actions" }, button(t("app.close"), { id: "push-close", onclick: close }), go),
  );
  const attributes = { class: "st-dialog st-live", id: "push", "aria-labelledby": "push-title", oncancel: close };
  const dialog = el("dialog", attributes, form);
  document.body.append(dialog);
  dialog.showModal();
  repo.focus();
}
