// What was typed into the form, kept by the browser: it survives a reload and a restart of the studio.

const KEPT = "studio-draft";
let recalled = false;  // what the page fills in before that is nobody's typing

/** Remember every field. */
function keep(names, typed) {
  if (recalled) localStorage.setItem(KEPT, JSON.stringify(Object.fromEntries(names.map((name, i) => [name, typed[i]]))));
}

/** The fields' values: what was kept where it is of the right kind, else the default. */
function recall(names, defaults) {
  let kept = null;
  try { kept = JSON.parse(localStorage.getItem(KEPT)); } catch { kept = null; }
  recalled = true;
  return names.map((name, i) => (typeof kept?.[name] === typeof defaults[i] ? kept[name] : defaults[i]));
}

function forget() {
  localStorage.removeItem(KEPT);
}

window.studioDraft = { keep, recall, forget };
