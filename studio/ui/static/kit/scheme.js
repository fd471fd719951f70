// @ts-check
// Light or dark: a person's own choice wins over the address (a Space's frame says it there) and the system.

const KEPT = "studio-theme";

/** What a person has chosen on this page; null: nothing. */
export const chosenScheme = () => localStorage.getItem(KEPT);

/** @param {"light" | "dark"} scheme */
export const chooseScheme = (scheme) => localStorage.setItem(KEPT, scheme);

/** Whether the page is dark, before anybody has drawn it. */
export function startsDark() {
  const scheme = chosenScheme() ?? new URLSearchParams(location.search).get("__theme"); // Gradio's word
  return scheme ? scheme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}
