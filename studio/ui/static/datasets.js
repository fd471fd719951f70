// The page *Datasets*: bringing pictures in, and the list; one data set is `dataset.js`.

import { follow, go } from "./app.js";
import { address, call, el, t, when } from "./kit.js";
import { SetView, counted } from "./dataset.js";
import { refusal } from "./parts.js";
import { poll } from "./poll.js";
import { adder } from "./sources.js";
import { trashLink } from "./trashed.js";
import { usage } from "./usage.js";

export function mount(root) {
  const place = root.querySelector(".st-live");
  let shown = null;
  let view = null;
  follow(({ page, dataset }) => {
    const wanted = page === "datasets" ? dataset ?? "" : null;
    if (wanted === shown && wanted !== "") return;
    shown = wanted;
    view?.close();
    view = null;
    if (wanted === null) return;
    if (wanted) { view = new SetView(wanted, place); view.open(); }
    else list(place);
  });
}

function list(place) {
  const body = el("div", { id: "dataset-list", class: "st-sets" }, el("p", { class: "st-quiet" }, t("datasets.loading")));
  place.replaceChildren(
    el("div", { class: "st-title" }, el("h1", {}, t("datasets.title")), el("p", {}, t("datasets.lead"))),
    el("div", { class: "st-set-columns" }, body, adder((set) => go({ dataset: set.id }))), usage(), trashLink());
  let tag = null;
  let busy = false;
  poll(async () => {
    const answer = await call("datasets", { tag });
    if (answer.data) {
      tag = answer.tag;
      busy = answer.data.items.some((set) => set.state === "importing");
      body.replaceChildren(...answer.data.items.map(card));
    }
    return busy ? 1500 : null;
  }, (error) => body.replaceChildren(refusal(error)));
}

function card(set) {
  const strip = el("div", { class: "st-thumbs", "aria-hidden": "true" }, (set.cover ?? []).slice(0, 4).map((url) =>
    el("img", { src: address(url), alt: "", loading: "lazy", decoding: "async" })));
  const state = set.state === "ready" ? counted(set.count) : t(`datasets.state_${set.state}`);
  return el("a", { class: "st-card st-set", href: `?dataset=${set.id}` }, strip,
    el("strong", {}, set.name), el("span", { class: "st-quiet" },
      [state, set.read_only ? t("datasets.shipped") : when(set.created)].join(" · ")));
}
