// What was typed into the form, kept by the browser: it survives a reload and a restart of the studio.

const KEPT = "studio-draft";
let recalled = false;  // what the page fills in before that is nobody's typing

/** Remember every field. */
function keep(names, typed) {
  if (recalled) localStorage.setItem(KEPT, JSON.stringify(Object.fromEntries(names.map((name, i) => [name, typed[i]]))));
}

/** What was kept, by the fields' names; empty where nothing was. */
function kept() {
  try { return JSON.parse(localStorage.getItem(KEPT)) ?? {}; } catch { return {}; }
}

/** The fields' values: what was kept where it is of the right kind, else the default. */
function recall(names, defaults) {
  const found = kept();
  recalled = true;
  return names.map((name, i) => (typeof found[name] === typeof defaults[i] ? found[name] : defaults[i]));
}

function forget() {
  localStorage.removeItem(KEPT);
}

window.studioDraft = { keep, kept, recall, forget };
