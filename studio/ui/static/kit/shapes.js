// @ts-check
// The shapes of the pages, which the server sends: what is seen until a page has something to show.

/** @import { Route } from "./url.js" */

/** The name of what a route shows: a page, or one run or data set. @param {Route} route */
export function shapeOf({ page, run, dataset }) {
  if (run) return "run";
  return dataset ? "dataset" : page;
}

/** Whether the page of that name has something to show: more than a word that it is coming. @param {string} page */
function hasContent(page) {
  if (page === "train" && !document.getElementById("start-training")) return false;
  const part = page === "train" ? "notice" : page; // of the form's parts the one beside the button
  const place = document.querySelector(`#page-${page} [data-part="${part}"]`);
  return Boolean(place?.firstElementChild) && !place?.querySelector(".st-waiting");
}

/** Take the shapes off the page as soon as there is something to see in their place, or something went wrong. */
export function liftShapes() {
  const shapes = document.getElementById("shapes");
  if (!shapes) return;
  const lift = () => {
    drawn.disconnect();
    shapes.remove();
    delete document.documentElement.dataset.shape;
  };
  const look = () => {
    if (hasContent(document.documentElement.dataset.page ?? "")) lift();
  };
  const drawn = new MutationObserver(look);
  drawn.observe(document.body, { childList: true, subtree: true });
  window.addEventListener("studio:route", look);
  for (const wrong of ["error", "unhandledrejection", "vite:preloadError"]) window.addEventListener(wrong, lift);
}
