// Which page shows: the URL says it (?run=<id>, ?dataset=<id>, ?play=<run id>, ?view=runs; `page` is Gradio's own), and the back button works.

import { attempt, call, el, t } from "./kit.js";
import { watch } from "./notify.js";

const PAGES = ["train", "runs", "datasets", "play", "trash"];

/** What the URL asks for: {page, run, dataset, play}. */
export function route() {
  const query = new URLSearchParams(location.search);
  const [run, dataset, play] = ["run", "dataset", "play"].map((name) => query.get(name));
  const asked = query.get("view");
  const page = run ? "runs" : dataset ? "datasets" : play ? "play" : PAGES.includes(asked) ? asked : "train";
  return { page, run, dataset, play };
}

/** Go to a page, a run or a data set without loading anything anew. */
export function go(query) {
  const url = new URL(location.href);
  for (const name of ["view", "run", "dataset", "play", "with", "part", "at", "weights", "prompt", "seed", "job", "hub"]) url.searchParams.delete(name);
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
  history.pushState(null, "", url);
  show();
  window.scrollTo(0, 0);
}

/** A further word of the URL (which runs are compared, which part of a data set shows), or null. */
export const noted = (name) => new URLSearchParams(location.search).get(name);

/** Write such a word into the URL without going anywhere. */
export function note(name, value) {
  const url = new URL(location.href);
  if (value === null) url.searchParams.delete(name);
  else url.searchParams.set(name, value);
  history.replaceState(null, "", url);
}

/** Call `then` with the route, now and whenever it changes. */
export function follow(then) {
  window.addEventListener("studio:route", () => then(route()));
  then(route());
}

function show() {
  const { page } = route();
  document.documentElement.dataset.page = page;
  for (const link of document.querySelectorAll(".st-header nav a")) {
    if (link.dataset.page === page) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  window.dispatchEvent(new Event("studio:route"));
}

function clicked(event) {
  const link = event.target.closest?.("a[href^='?']");
  if (!link || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  go(Object.fromEntries(new URLSearchParams(link.getAttribute("href"))));
}

/** Who is signed in, and the way in or out, where people sign in at all. */
async function greet(header) {
  const { data } = await call("session");
  if (!data.login) return;
  header.querySelector("nav").after(el("span", { class: "st-who" }, data.signed_in ? data.name : "", data.signed_in
    ? el("button", { type: "button", class: "st-button st-small", id: "sign-out", onclick: () => attempt(() => leave(data.logout)) }, t("app.sign_out"))
    : el("a", { class: "st-button st-small", id: "sign-in", href: data.login }, t("app.sign_in"))));
}

/** Sign out: a wish of the person's, which no address alone can bring about. */
async function leave(logout) {
  await fetch(new URL(logout.replace(/^\//, ""), document.baseURI), { method: "POST", credentials: "same-origin" });
  location.reload();
}

const THEME = "studio-theme";

/** Gradio follows the system by the class `dark`; a person's own choice wins over it. */
function dress() {
  const chosen = localStorage.getItem(THEME);
  if (chosen && document.body.classList.contains("dark") !== (chosen === "dark")) {
    document.body.classList.toggle("dark", chosen === "dark");
  }
}

function toggle(event) {
  if (!event.target.closest?.("#theme-toggle")) return;
  localStorage.setItem(THEME, document.body.classList.contains("dark") ? "light" : "dark");
  dress();
}

/** A person's own choice wins over the browser's. On a Space the page is in a frame, where only such a cookie is kept. */
function speak(event) {
  if (event.target.id !== "language") return;
  const framed = location.protocol === "https:" ? "SameSite=None; Secure; Partitioned" : "SameSite=Lax";
  document.cookie = `studio-language=${event.target.value}; Path=/; Max-Age=${366 * 86400}; ${framed}`;
  location.reload();
}

if (!window.studioStarted) {
  window.studioStarted = true;
  document.addEventListener("click", clicked);
  document.addEventListener("click", toggle);
  document.addEventListener("change", speak);
  window.addEventListener("popstate", show);
  new MutationObserver(dress).observe(document.body, { attributes: true, attributeFilter: ["class"] });
  new MutationObserver((_, self) => {  // the header is drawn by Gradio, after this script
    if (!document.querySelector(".st-header nav")) return;
    self.disconnect();
    show();
    attempt(() => greet(document.querySelector(".st-header")));
  }).observe(document.body, { childList: true, subtree: true });
  dress();
  show();
  watch();
}
