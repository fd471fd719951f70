// The dialog that pushes a data set to the Hub; the job's progress and address then show on the page.

import { call, el, t } from "./kit.js";
import { hold } from "./sources.js";

/** Ask for the repository, and start; `started` is told the job. The token is sent once and kept nowhere. */
export function push(id, started) {
  const field = (name, input) => el("label", { class: "st-stacked" }, el("span", {}, t(`push.${name}`)), input);
  const repo = el("input", { type: "text", id: "push-repo", maxlength: 190, autocomplete: "off", spellcheck: "false",
    placeholder: t("push.repo_empty") });
  const own = el("input", { type: "checkbox", id: "push-private", checked: true });
  const token = el("input", { type: "password", id: "push-token", autocomplete: "new-password", maxlength: 4000 });
  const problem = el("div", { role: "alert" });
  const go = el("button", { type: "submit", class: "st-button st-primary", id: "push-go" }, t("push.go"));
  const close = () => { token.value = ""; dialog.close(); dialog.remove(); };
  const send = (event) => {
    event.preventDefault();
    const secret = token.value.trim();
    hold(go, problem, async () => {
      const { data } = await call(`datasets/${id}/push`, { method: "POST",
        body: { repo: repo.value.trim(), private: own.checked, ...(secret ? { token: secret } : {}) } });
      close();
      started(data);
    });
  };
  const dialog = el("dialog", { class: "st-dialog st-live", id: "push", "aria-labelledby": "push-title", oncancel: () => close() },
    el("form", { onsubmit: send },
      el("h2", { id: "push-title" }, t("push.title")), el("p", { class: "st-quiet" }, t("push.help")),
      field("repo", repo), field("token", token), el("label", { class: "st-check" }, own, el("span", {}, t("push.private"))), problem,
      el("div", { class: "st-actions" },
        el("button", { type: "button", class: "st-button", id: "push-close", onclick: () => close() }, t("app.close")), go)));
  document.body.append(dialog);
  dialog.showModal();
  repo.focus();
}
