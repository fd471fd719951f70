// @ts-check
// Which page shows: the URL says it (?run=<id>, ?dataset=<id>, ?play=<run id>, ?view=runs), and the back button works.

import { FACTS } from "./facts.js";
import { shapeOf } from "./shapes.js";
import { WORDS, routeOf } from "./url.js";

/** @import { Route } from "./url.js" */

/** What the page's URL asks for. */
export const route = () => routeOf(location.search, FACTS.pages);

/** Go to a page, a run or a data set without loading anything anew. @param {Record<string, string>} query */
export function go(query) {
  const url = new URL(location.href);
  for (const name of WORDS) url.searchParams.delete(name);
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
  history.pushState(null, "", url);
  show();
  window.scrollTo(0, 0);
}

/** A further word of the URL (which runs are compared, which part of a data set shows), or null.
 * @param {string} name */
export const noted = (name) => new URLSearchParams(location.search).get(name);

/** Write such a word into the URL without going anywhere. @param {string} name @param {string | null} value */
export function note(name, value) {
  const url = new URL(location.href);
  if (value === null) url.searchParams.delete(name);
  else url.searchParams.set(name, value);
  history.replaceState(null, "", url);
}

/** Call `then` with the route, now and whenever it changes. @param {(route: Route) => void} then */
export function follow(then) {
  window.addEventListener("studio:route", () => then(route()));
  then(route());
}

/** Show the page that the URL asks for, and tell those who follow. */
export function show() {
  const { page } = route();
  const { dataset } = document.documentElement;
  dataset.page = page;
  if (dataset.shape) dataset.shape = shapeOf(route()); // Gradio still draws
  for (const link of document.querySelectorAll(".st-header nav a")) {
    if (link.getAttribute("data-page") === page) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  window.dispatchEvent(new Event("studio:route"));
}
