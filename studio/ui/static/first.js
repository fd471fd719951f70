// @ts-check
// What is done before anything is drawn, at the start of the body: which page shows, light or dark.

import "./kit/calm.js";
import { startsDark } from "./kit/scheme.js";
import { shapeOf } from "./kit/shapes.js";
import { routeOf } from "./kit/url.js";
import "./train/draft.js";

/** @type {import("../types/facts.js").Facts} */
const facts = JSON.parse(document.getElementById("studio-facts")?.textContent ?? "");
const route = routeOf(location.search, facts.pages);
document.documentElement.dataset.page = route.page;
document.documentElement.dataset.shape = shapeOf(route);
document.body.classList.toggle("dark", startsDark());
