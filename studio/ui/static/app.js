// @ts-check
// The page's frame: its links, who is signed in, light or dark, the language.

import { attempt, button, call, el, t, within } from "./kit/kit.js";
import { go, show } from "./kit/route.js";
import { chooseScheme, chosenScheme } from "./kit/scheme.js";
import { liftShapes } from "./kit/shapes.js";
import { watch } from "./runs/notify.js";

const YEAR = 366 * 86400; // seconds

/** A link of the studio's shows another page without loading anything anew. @param {MouseEvent} event */
function clicked(event) {
  const link = event.target instanceof Element ? event.target.closest("a[href^='?']") : null;
  if (!link || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  go(Object.fromEntries(new URLSearchParams(link.getAttribute("href") ?? "")));
}

/** Who is signed in, and the way in or out, where people sign in at all. @param {Element} header */
async function greet(header) {
  const { data } = await call("session");
  if (!data.login) return;
  const signOut = button(t("app.sign_out"), {
    class: "st-button st-small",
    id: "sign-out",
    onclick: () => attempt(() => leave(data.logout ?? "")),
  });
  const signIn = el("a", { class: "st-button st-small", id: "sign-in", href: data.login }, t("app.sign_in"));
  const who = el("span", { class: "st-who" }, data.signed_in ? data.name : "", data.signed_in ? signOut : signIn);
  within(header, "nav").after(who);
}

/** Sign out: a wish of the person's, which no address alone can bring about. @param {string} logout */
async function leave(logout) {
  await fetch(new URL(logout.replace(/^\//, ""), document.baseURI), { method: "POST", credentials: "same-origin" });
  location.reload();
}

/** Gradio follows the system by the class `dark`; a person's own choice wins over it. */
function dress() {
  const chosen = chosenScheme();
  if (chosen && document.body.classList.contains("dark") !== (chosen === "dark")) {
    document.body.classList.toggle("dark", chosen === "dark");
  }
}

/** @param {MouseEvent} event */
function toggle(event) {
  if (!(event.target instanceof Element) || !event.target.closest("#theme-toggle")) return;
  chooseScheme(document.body.classList.contains("dark") ? "light" : "dark");
  dress();
}

/** A person's own choice wins over the browser's. In a Space's frame only such a cookie is kept.
 * @param {Event} event */
function speak(event) {
  if (!(event.target instanceof HTMLSelectElement) || event.target.id !== "language") return;
  const framed = location.protocol === "https:" ? "SameSite=None; Secure; Partitioned" : "SameSite=Lax";
  document.cookie = `studio-language=${event.target.value}; Path=/; Max-Age=${YEAR}; ${framed}`;
  location.reload();
}

if (!window.studioStarted) {
  window.studioStarted = true;
  document.addEventListener("click", clicked);
  document.addEventListener("click", toggle);
  document.addEventListener("change", speak);
  window.addEventListener("popstate", show);
  new MutationObserver(dress).observe(document.body, { attributes: true, attributeFilter: ["class"] });
  liftShapes();
  show();
  attempt(() => greet(within(document.body, ".st-header")));
  watch();
}
