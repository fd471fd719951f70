// @ts-check
// Pictures from this computer: dropped or chosen, folders with their paths.

import { FACTS, LONGEST } from "../kit/facts.js";
import { attempt, button, bytes, call, el, say, t, whole } from "../kit/kit.js";
import { badNote, submitting } from "../kit/pieces.js";
import { nameFor, sizeOf, visible } from "./batches.js";
import { dropped, listed } from "./entries.js";
import { options } from "./options.js";
import { BrokenOff, bring, commit, whyBroken } from "./send.js";

/** @import { Dataset } from "../../types/api.js" */
/** @import { Entry } from "./batches.js" */
/** @typedef {(set: Dataset) => void} Done */

/** A form that uploads; `done` gets the new data set. @param {Done} done */
export const uploader = (done) => new Uploader(done).node;

class Uploader {
  /** @param {Done} done */
  constructor(done) {
    this.done = done;
    /** @type {Entry[]} */
    this.files = [];
    /** @type {AbortController | null} */
    this.sending = null;
    /** The data set that holds what arrived of an upload which broke off.
     * @type {Pick<Dataset, "id" | "waiting"> | null} */
    this.broken = null;
    this.wishes = options();
    this.chosen = el("p", { class: "st-quiet", role: "status", "aria-live": "polite" });
    const progress = { role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100, hidden: true };
    this.filling = el("i");
    this.bar = el("div", { class: "st-progress", ...progress, "aria-label": t("datasets.upload") }, this.filling);
    this.problem = el("div", { role: "alert" });
    this.input = this.chooser("dataset-files", { accept: FACTS.uploads.join(",") });
    const ofFolders = { webkitdirectory: true, tabindex: -1, "aria-label": t("datasets.choose_folder") };
    this.folder = this.chooser("dataset-folder", ofFolders);
    this.name = el("input", {
      type: "text",
      id: "dataset-name",
      maxlength: LONGEST.name,
      placeholder: t("datasets.name_empty"),
      autocomplete: "off",
    });
    const primary = { type: "submit", class: "st-button st-primary", id: "dataset-upload" };
    this.send = el("button", primary, t("datasets.upload"));
    this.stop = button(t("datasets.upload_cancel"), {
      id: "upload-cancel",
      hidden: true,
      onclick: () => {
        this.sending?.abort();
      },
    });
    this.use = button(t("datasets.use_arrived"), {
      id: "upload-use",
      hidden: true,
      onclick: () => {
        this.useArrived();
      },
    });
    this.node = this.frame();
  }

  /** A field of files. @param {string} id @param {Record<string, unknown>} attributes */
  chooser(id, attributes) {
    return el("input", {
      type: "file",
      multiple: true,
      id,
      class: "st-sr",
      ...attributes,
      onchange: ({ currentTarget }) => this.take(listed(currentTarget.files)),
    });
  }

  frame() {
    const byFolder = button(t("datasets.choose_folder"), {
      id: "choose-folder",
      onclick: () => {
        this.folder.click();
      },
    });
    const name = el("label", { for: "dataset-name" }, t("datasets.name"), this.name);
    return el(
      "form",
      { class: "st-upload", id: "upload", onsubmit: submitting(() => this.submit()) },
      this.input,
      this.folder,
      this.zone(),
      byFolder,
      this.bar,
      this.problem,
      this.wishes.node,
      el("div", { class: "st-inline-form" }, name, this.stop, this.use, this.send),
    );
  }

  /** Where files are dropped, or chosen by a click. */
  zone() {
    return el(
      "label",
      {
        class: "st-drop",
        for: "dataset-files",
        ondragover: (event) => {
          event.preventDefault();
          event.currentTarget.classList.add("st-over");
        },
        ondragleave: ({ currentTarget }) => currentTarget.classList.remove("st-over"),
        ondrop: (event) => {
          event.preventDefault();
          event.currentTarget.classList.remove("st-over");
          this.takeDropped(event.dataTransfer);
        },
      },
      el("strong", {}, t("datasets.drop")),
      el("span", { class: "st-button" }, t("datasets.choose")),
      this.chosen,
    );
  }

  /** @param {DataTransfer | null} transfer */
  async takeDropped(transfer) {
    if (transfer) this.take(await dropped(transfer));
  }

  /** @param {Entry[]} entries */
  take(entries) {
    this.files = visible(entries);
    const [count, size] = [this.files.length, bytes(sizeOf(this.files))];
    const one = count === 1 ? this.files[0][0] : null;
    say(
      this.chosen,
      one ? t("datasets.chosen_one", { name: one, size }) : t("datasets.chosen", { count: whole(count), size }),
    );
    this.problem.replaceChildren();
  }

  async submit() {
    this.problem.replaceChildren();
    if (!this.files.length) {
      this.warn(t("datasets.pick_first"));
      return;
    }
    this.show({ sending: true });
    this.use.hidden = true;
    const sending = new AbortController();
    this.sending = sending;
    try {
      const name = this.name.value.trim() || nameFor(this.files);
      const upload = { draft: this.broken?.id, name, files: this.files, wishes: this.wishes.value() };
      this.done(await bring(upload, sending.signal, (share) => this.progress(share)));
    } catch (error) {
      if (sending.signal.aborted) this.cancelled();
      else await this.brokenOff(error);
    } finally {
      this.show({ sending: false });
    }
  }

  /** @param {{ sending: boolean }} state */
  show({ sending }) {
    this.send.disabled = sending;
    this.bar.hidden = !sending;
    this.stop.hidden = !sending;
  }

  cancelled() {
    this.broken = null;
    say(this.send, t("datasets.upload"));
    say(this.chosen, t("datasets.upload_cancelled"));
  }

  /** Say what arrived of the upload; the next press sends the rest. @param {unknown} error */
  async brokenOff(error) {
    this.warn(whyBroken(error));
    this.broken = error instanceof BrokenOff ? await arrivedIn(error.draft) : null;
    const waiting = this.broken?.waiting;
    this.use.hidden = !waiting;
    say(this.send, t(this.broken ? "datasets.send_rest" : "datasets.upload"));
    if (waiting) {
      this.problem.append(el("p", { class: "st-quiet" }, t("datasets.arrived", { count: whole(waiting) })));
    }
  }

  async useArrived() {
    const { broken } = this;
    if (broken) await attempt(async () => this.done(await commit(broken.id, this.wishes.value())));
  }

  /** @param {number} share of the upload that was sent */
  progress(share) {
    const percent = Math.round(share * 100);
    this.filling.style.width = `${percent}%`;
    this.bar.setAttribute("aria-valuenow", String(percent));
    say(this.chosen, percent < 100 ? t("datasets.uploading", { percent }) : t("datasets.importing"));
  }

  /** @param {string} words */
  warn(words) {
    this.problem.replaceChildren(badNote(words));
  }
}

/** A data set that holds a part of an upload; where the studio does not answer, its id alone.
 * @param {string} id @returns {Promise<Pick<Dataset, "id" | "waiting">>} */
function arrivedIn(id) {
  return call(`datasets/${id}`).then(
    ({ data }) => data,
    () => ({ id }),
  );
}
