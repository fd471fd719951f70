// The jump from *Train* to the run that was just started.

import { go } from "./app.js";

export function mount(root, bridge) {
  let last = null;
  bridge.watch(() => {
    const value = bridge.value();
    if (!value || value.turn === last) return;
    last = value.turn;
    go({ run: value.run });
  });
}
