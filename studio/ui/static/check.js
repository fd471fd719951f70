// The check under *Start training*: how far it is, and what the first steps and a picture took.

import { ApiError, address, attempt, bytes, call, el, has, number, t, unit } from "./kit.js";

const LIVE = new Set(["queued", "starting", "running", "stopping"]);
const POLL = 700;
const AWAY = 3000; // when the studio does not answer

export function mount(root, bridge) {
  const place = root.querySelector(".st-live");
  place.setAttribute("aria-live", "polite");
  let current = null;
  let shown = "";

  async function follow(id) {
    if (id !== current) return;
    let job;
    try {
      job = (await call(`jobs/${id}`)).data;
    } catch (error) {
      if (error instanceof ApiError && error.status < 500) place.replaceChildren(el("p", {}, error.words));
      else setTimeout(follow, AWAY, id);
      return;
    }
    if (id !== current) return;
    const live = LIVE.has(job.state);
    document.getElementById("check-training")?.toggleAttribute("disabled", live);
    const now = `${job.seq} ${job.state} ${job.queue_position}`;
    if (now !== shown) place.replaceChildren(box(job));
    shown = now;
    if (live) setTimeout(follow, POLL, id);
    else if (job.state === "finished") bridge.send("measured", {});
  }

  const take = () => {
    const value = bridge.value();
    if (!value || value.job === current) return;
    current = value.job;
    follow(current);
  };
  bridge.watch(take);
  take();
  // One that is still under way is found again after a reload.
  call("jobs?kind=check&limit=1").then(({ data }) => {
    const [job] = data.items;
    if (current || !job || !LIVE.has(job.state)) return;
    current = job.id;
    follow(current);
  }, () => null); // whoever is signed out has no check to find, and is told so by the page itself
}

function box(job) {
  const report = job.results.find((one) => one.name === "report.json");
  if (LIVE.has(job.state)) return note(job, "", el("p", { class: "st-quiet" }, busy(job)), cancel(job));
  if (job.state !== "finished" || !report) {
    const { message, hint } = job.error ?? { message: t(job.state === "cancelled" ? "train.check_cancelled"
      : "train.check_ended"), hint: "" };
    return note(job, job.state === "cancelled" ? "" : " st-note-bad", el("p", {}, message), hint ? el("p", {}, hint) : null);
  }
  const picture = job.results.find((one) => one.name === "picture.webp");
  const said = !report.finite ? "not_finite" : picture ? "good" : "no_picture";
  return note(job, said === "good" ? "" : " st-note-bad", el("p", {}, t(`train.check_${said}`, { steps: report.steps })),
    figures(report), picture ? el("img", { src: address(picture.url), class: "st-check-picture", width: picture.width,
      height: picture.height, alt: t("train.check_drawn", { prompt: picture.prompt }), title: picture.prompt }) : null,
    job.warnings.length ? el("ul", {}, job.warnings.map((warning) => el("li", {}, warning.message))) : null);
}

const note = (job, kind, ...children) => el("div", { class: `st-note${kind}`, id: "check-result", "data-state": job.state,
  role: kind ? "alert" : null }, el("strong", {}, t("train.check_title")), ...children);

function busy({ state, queue_position: position, phase, phase_done: done, phase_total: total, phase_unit: named }) {
  if (state === "queued") return position ? t("train.check_queued", { position }) : t("train.check_starting");
  if (!has(`phase.${phase}`)) return t("train.check_starting");
  const words = t(`phase.${phase}`);
  return total && named !== "bytes" ? t("phase.counted", { phase: words, done, total, unit: unit(named) }) : `${words} …`;
}

const cancel = (job) => el("button", { type: "button", class: "st-link", id: "check-cancel",
  onclick: () => attempt(() => call(`jobs/${job.id}/cancel`, { method: "POST" })) }, t("train.check_cancel"));

function figures(report) {
  const seconds = (value) => value === null ? null : t("train.check_seconds", { value: number(value, 3) });
  const size = (value) => value === null ? null : bytes(value);
  const rows = [["step", seconds(report.seconds_per_step)], ["picture", seconds(report.seconds_per_picture)],
    ["begin", seconds(report.seconds_to_first_step)], ["gpu", size(report.peak_gpu_bytes)],
    ["memory", size(report.peak_memory_bytes)], ["loss", report.loss === null ? null : number(report.loss)]];
  return el("dl", { class: "st-facts" }, rows.filter(([, value]) => value !== null).map(([name, value]) =>
    el("div", {}, el("dt", {}, t(`train.check_${name}`)), el("dd", {}, value))));
}
