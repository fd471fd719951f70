// @ts-check
// What the words of a page's URL ask for.

/** Words of the URL that say what a page shows; `page` is Gradio's own. */
export const WORDS = [
  ...["view", "run", "dataset", "play", "with", "part"],
  ...["at", "weights", "prompt", "seed", "job", "hub"],
];

/**
 * @typedef {object} Route
 * @property {string} page
 * @property {string | null} run
 * @property {string | null} dataset
 * @property {string | null} play the run that is tried
 */

/**
 * What a query asks for; a page that is not among `pages` is the first of them.
 * @param {string} search
 * @param {string[]} pages
 * @returns {Route}
 */
export function routeOf(search, pages) {
  const query = new URLSearchParams(search);
  const [run, dataset, play] = ["run", "dataset", "play"].map((name) => query.get(name));
  return { page: pageOf(query, pages), run, dataset, play };
}

/** @param {URLSearchParams} query @param {string[]} pages */
function pageOf(query, pages) {
  if (query.get("run")) return "runs";
  if (query.get("dataset")) return "datasets";
  if (query.get("play")) return "play";
  const view = query.get("view");
  return view && pages.includes(view) ? view : pages[0];
}
