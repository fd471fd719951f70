// @ts-check
// The page *Datasets*: bringing pictures in, and the list; one data set is `dataset.js`.

import { adder } from "../imports/sources.js";
import { address, call, el, t, when } from "../kit/kit.js";
import { placeIn, refusal, waiting } from "../kit/pieces.js";
import { poll } from "../kit/poll.js";
import { follow, go } from "../kit/route.js";
import { trashLink } from "../trash/trashed.js";
import { usage } from "../trash/usage.js";
import { SetView, counted } from "./dataset.js";

/** @import { Dataset } from "../../types/api.js" */

const COVERS = 4;

/** @param {Element} root */
export function mount(root) {
  const place = placeIn(root);
  /** The data set on show; empty for the list, null while another page shows. @type {string | null} */
  let shown = null;
  /** @type {SetView | null} */
  let view = null;
  follow(({ page, dataset }) => {
    const asked = page === "datasets" ? (dataset ?? "") : null;
    if (asked === shown && asked !== "") return;
    shown = asked;
    view?.close();
    view = null;
    if (asked) {
      view = new SetView(asked, place);
      view.open();
    } else if (asked === "") {
      list(place);
    }
  });
}

/** @param {HTMLElement} place */
function list(place) {
  const loading = waiting(t("datasets.loading"));
  const body = el("div", { id: "dataset-list", class: "st-sets" }, loading);
  const title = el("div", { class: "st-title" }, el("h1", {}, t("datasets.title")), el("p", {}, t("datasets.lead")));
  const add = adder((set) => go({ dataset: set.id }));
  place.replaceChildren(title, el("div", { class: "st-set-columns" }, body, add), usage(), trashLink());
  /** @type {string | null} */
  let tag = null;
  let busy = false;
  const next = async () => {
    const answer = await call("datasets", { tag });
    if (answer.data) {
      tag = answer.tag;
      const { items } = answer.data;
      busy = items.some((set) => set.state === "importing");
      body.replaceChildren(...items.map(card));
    }
    return busy ? 1500 : null;
  };
  poll(next, (error) => body.replaceChildren(refusal(error)));
}

/** @param {Dataset} set */
function card(set) {
  const covers = (set.cover ?? []).slice(0, COVERS).map((url) => {
    const lazily = { loading: "lazy", decoding: "async" };
    return el("img", { src: address(url), alt: "", ...lazily });
  });
  const state = set.state === "ready" ? counted(set.count) : t(`datasets.state_${set.state}`);
  const origin = set.read_only ? t("datasets.shipped") : when(set.created);
  return el(
    "a",
    { class: "st-card st-set", href: `?dataset=${set.id}` },
    el("div", { class: "st-thumbs", "aria-hidden": "true" }, ...covers),
    el("strong", {}, set.name),
    el("span", { class: "st-quiet" }, [state, origin].join(" · ")),
  );
}
