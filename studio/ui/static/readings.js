// The values at the chart's cursor beside each line's mark, and the whole chart as a PNG.

import { nearest, smooth } from "./columns.js";
import { el, number, say, t, whole } from "./kit.js";
import { colour } from "./plot.js";
import { DASHES, VALIDATION } from "./tracks.js";

/** Write each panel's values at the step pointed at, or the last ones. */
export function readings(chart) {
  const { curve } = chart.track;
  const step = chart.step ?? curve.last;
  const at = (table, column) => column[nearest(table.step, step)] ?? null;
  const own = curve.at(step);
  const rows = {
    loss: [["step", t("chart.at_step", { step: whole(at(own, own.step) ?? step) }), null],
      ["raw", t("chart.raw"), at(own, own.loss), "--st-raw", []], ["smoothed", t("chart.smoothed"), at(own, smooth(own.loss, chart.weight)), "--st-line", []]],
    lr: [["lr", t("chart.lr"), at(own, own.lr), "--st-line", []]],
    grad_norm: [["grad", t("chart.grad_norm"), at(own, own.grad_norm), "--st-line", []]],
  };
  for (const [weights, own] of Object.entries(curve.validation)) {
    rows.loss.push([weights, t(`chart.validation_${weights}`), at(own, own.loss), "--st-second", VALIDATION[weights]]);
  }
  chart.others.tracks.forEach((track, i) => {
    const table = track.curve.at(step);
    const inside = table.step.length && step <= track.curve.last;
    const value = (column) => (inside ? at(table, column) : null);
    rows.loss.push([track.id, track.name, value(smooth(table.loss, chart.weight)), `--st-c${i + 2}`, DASHES[i + 1]]);
    rows.lr.push([track.id, track.name, value(table.lr), `--st-c${i + 2}`, DASHES[i + 1]]);
    rows.grad_norm.push([track.id, track.name, value(table.grad_norm), `--st-c${i + 2}`, DASHES[i + 1]]);
  });
  for (const [key, items] of Object.entries(rows)) fill(chart.heads[key], items);
}

function fill(head, items) {
  const key = items.map(([id]) => id).join();
  if (head.dataset.key !== key) {
    head.dataset.key = key;
    head.replaceChildren(...items.map(([, , value, stroke, dash]) => el("span", {},
      stroke ? mark(stroke, dash ?? []) : null, el("span"), value === null && !stroke ? null : el("b"))));
  }
  items.forEach(([, label, value, stroke], i) => {
    const node = head.children[i];
    say(node.children[stroke ? 1 : 0], label);
    if (stroke) say(node.lastChild, number(value));
  });
}

/** A short piece of a line, as it is drawn. */
function mark(stroke, dash) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const line = document.createElementNS(space, "line");
  for (const [name, value] of Object.entries({ viewBox: "0 0 26 8", "aria-hidden": "true" })) svg.setAttribute(name, value);
  for (const [name, value] of Object.entries({ x1: 0, x2: 26, y1: 4, y2: 4, "stroke-dasharray": dash.join(" ") })) line.setAttribute(name, value);
  line.style.stroke = `var(${stroke})`;
  svg.append(line);
  return svg;
}

/** Download what the chart shows as a PNG. */
export async function picture(chart) {
  const plots = Object.entries(chart.plots);
  if (!plots.length) return;
  const ratio = window.devicePixelRatio || 1;
  const [line, gap] = [26 * ratio, 14 * ratio];
  const width = plots[0][1].ctx.canvas.width + 2 * gap;
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = plots.reduce((sum, [, made]) => sum + made.ctx.canvas.height + line, 2 * gap);
  const ink = canvas.getContext("2d");
  ink.fillStyle = colour(chart.node, "--st-card");
  ink.fillRect(0, 0, width, canvas.height);
  ink.font = `${13 * ratio}px system-ui, sans-serif`;
  ink.textBaseline = "middle";
  let top = gap;
  for (const [key, made] of plots) {
    words(ink, chart, key, gap, top + line / 2, ratio);
    ink.drawImage(made.ctx.canvas, gap, top + line);
    top += made.ctx.canvas.height + line;
  }
  const blob = await new Promise((resolve) => canvas.toBlob(resolve));
  const url = URL.createObjectURL(blob);
  el("a", { href: url, download: `run-${chart.id.slice(0, 8)}.png` }).click();
  URL.revokeObjectURL(url);
}

function words(ink, chart, key, left, middle, ratio) {
  for (const item of chart.heads[key].children) {
    const stroke = item.querySelector("line")?.style.stroke.match(/--[\w-]+/)?.[0];
    if (stroke) {
      ink.fillStyle = colour(chart.node, stroke);
      ink.fillRect(left, middle - 1.5 * ratio, 18 * ratio, 3 * ratio);
      left += 24 * ratio;
    }
    ink.fillStyle = colour(chart.node, "--st-ink");
    const text = [...item.querySelectorAll("span, b")].map((node) => node.textContent).join(" ");
    ink.fillText(text, left, middle);
    left += ink.measureText(text).width + 18 * ratio;
  }
}
