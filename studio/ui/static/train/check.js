// @ts-check
// The check under *Start training*: how far it is, and what the first steps and a picture took.

import { isLive } from "../kit/facts.js";
import { ApiError, address, attempt, button, bytes, call, el, number, t } from "../kit/kit.js";
import { Elapsed, doing } from "../kit/phase.js";
import { listOf, messagesOf, placeIn } from "../kit/pieces.js";

/** @import { CheckPicture, CheckReport, Job } from "../../types/api.js" */
/** @import { Bridge } from "../../types/page.js" */

const POLL = 700; // milliseconds
const AWAY = 3000; // when the studio does not answer

/** @param {Element} root @param {Bridge<{ job: string }>} bridge */
export function mount(root, bridge) {
  const place = placeIn(root);
  place.setAttribute("aria-live", "polite");
  /** @type {string | null} */
  let current = null;
  let shown = "";

  /** @param {string} id */
  async function follow(id) {
    if (id !== current) return;
    try {
      const { data } = await call(`jobs/${id}`);
      if (id === current) show(data);
    } catch (error) {
      if (error instanceof ApiError && error.status < 500) place.replaceChildren(el("p", {}, error.words));
      else setTimeout(follow, AWAY, id);
    }
  }

  /** @param {Job} job */
  function show(job) {
    const live = isLive(job.state);
    document.getElementById("check-training")?.toggleAttribute("disabled", live);
    const now = `${job.seq} ${job.state} ${job.queue_position}`;
    if (now !== shown) place.replaceChildren(box(job));
    shown = now;
    if (live) setTimeout(follow, POLL, job.id);
    else if (job.state === "finished") window.dispatchEvent(new Event("studio:filled")); // its figures count now
  }

  const take = () => {
    const value = bridge.value();
    if (!value || value.job === current) return;
    current = value.job;
    window.dispatchEvent(new Event("studio:answered"));
    follow(current);
  };
  bridge.watch(take);
  take();
  // One that is still under way is found again after a reload.
  call("jobs?kind=check&limit=1").then(
    ({ data }) => {
      const job = data.items.at(0);
      if (current || !job || !isLive(job.state)) return;
      current = job.id;
      follow(current);
    },
    () => null, // whoever is signed out has no check to find, and is told so by the page itself
  );
}

/** @param {Job} job */
function box(job) {
  if (isLive(job.state)) {
    const words = el("span", {}, busy(job));
    const line = el("p", { class: "st-quiet st-doing" }, words, new Elapsed().count(job));
    return note(job, "", line, cancel(job));
  }
  const report = job.results.find((result) => result.name === "report.json");
  if (job.state !== "finished" || !report) return ended(job);
  const picture = job.results.find((result) => result.name === "picture.webp");
  const warnings = messagesOf(job.warnings);
  const measured = /** @type {CheckReport} */ (report);
  const verdict = verdictOf(measured, Boolean(picture));
  return note(
    job,
    verdict === "good" ? "" : " st-note-bad",
    el("p", {}, t(`train.check_${verdict}`, { steps: measured.steps })),
    figures(measured),
    picture ? drawn(/** @type {CheckPicture} */ (picture)) : null,
    warnings.length ? listOf(warnings) : null,
  );
}

/** @param {CheckReport} report @param {boolean} drawn */
function verdictOf(report, drawn) {
  if (!report.finite) return "not_finite";
  return drawn ? "good" : "no_picture";
}

/** A check without a report. @param {Job} job */
function ended(job) {
  const cancelled = job.state === "cancelled";
  const otherwise = { message: t(cancelled ? "train.check_cancelled" : "train.check_ended"), hint: "" };
  const { message, hint } = job.error ?? otherwise;
  return note(job, cancelled ? "" : " st-note-bad", el("p", {}, message), hint ? el("p", {}, hint) : null);
}

/** @param {Job} job @param {string} look @param {...(Node | null)} children */
function note(job, look, ...children) {
  const state = { "data-state": job.state, role: look ? "alert" : null };
  const title = el("strong", {}, t("train.check_title"));
  return el("div", { class: `st-note${look}`, id: "check-result", ...state }, title, ...children);
}

/** @param {CheckPicture} picture */
function drawn({ url, width, height, prompt }) {
  const words = { alt: t("train.check_drawn", { prompt }), title: prompt };
  return el("img", { src: address(url), class: "st-check-picture", width, height, ...words });
}

/** How far it is, in words. @param {Job} job */
function busy(job) {
  const { state, queue_position: position } = job;
  if (state === "queued" && position) return t("train.check_queued", { position });
  return doing(job) || t("train.check_starting");
}

/** @param {Job} job */
function cancel(job) {
  const onclick = () => attempt(() => call(`jobs/${job.id}/cancel`, { method: "POST" }));
  return button(t("train.check_cancel"), { class: "st-link", id: "check-cancel", onclick });
}

/** What was measured. @param {CheckReport} report */
function figures(report) {
  /** @param {number} value */
  const seconds = (value) => t("train.check_seconds", { value: number(value, 3) });
  /** @type {[string, number | null, (value: number) => string][]} */
  const rows = [
    ["step", report.seconds_per_step, seconds],
    ["picture", report.seconds_per_picture, seconds],
    ["begin", report.seconds_to_first_step, seconds],
    ["gpu", report.peak_gpu_bytes, bytes],
    ["memory", report.peak_memory_bytes, bytes],
    ["loss", report.loss, (value) => number(value)],
  ];
  const cells = rows.flatMap(([name, value, written]) =>
    value === null ? [] : [el("div", {}, el("dt", {}, t(`train.check_${name}`)), el("dd", {}, written(value)))],
  );
  return el("dl", { class: "st-facts" }, ...cells);
}
