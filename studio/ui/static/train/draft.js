// @ts-check
// What was typed into the form, kept by the browser: it survives a reload and a restart of the studio.

(() => {
  const KEPT = "studio-draft";
  let recalled = false; // what the page fills in before that is nobody's typing

  /** Remember every field. @param {string[]} names @param {unknown[]} typed */
  function keep(names, typed) {
    if (!recalled) return;
    const draft = Object.fromEntries(names.map((name, place) => [name, typed[place]]));
    localStorage.setItem(KEPT, JSON.stringify(draft));
  }

  /** What was kept, by the fields' names; empty where nothing was. @returns {Record<string, unknown>} */
  function kept() {
    try {
      return JSON.parse(localStorage.getItem(KEPT) ?? "{}") ?? {};
    } catch {
      return {};
    }
  }

  /** The fields' values: what was kept where it is of the right kind, else the default.
   * @param {string[]} names @param {unknown[]} defaults */
  function recall(names, defaults) {
    const draft = kept();
    recalled = true;
    return names.map((name, place) => {
      const fits = typeof draft[name] === typeof defaults[place];
      return fits ? draft[name] : defaults[place];
    });
  }

  function forget() {
    localStorage.removeItem(KEPT);
  }

  window.studioDraft = { keep, kept, recall, forget };
})();
