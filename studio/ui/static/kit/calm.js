// @ts-check
// Keeps a page that only shows numbers from drawing sixty times a second.
//
// Gradio's loading sign goes on asking for frames after it has left the page (seen in 6.31): for as long as a tab is
// open, on the processor that trains. So a callback that has asked for frame after frame for LONG of them gets one in
// ten seconds; an animation that anybody looks at ends long before. One that rests in between starts afresh.

(() => {
  const LONG = 240; // frames
  const PAUSE = 10000; // milliseconds
  const GAP = 250;
  const ask = window.requestAnimationFrame.bind(window);
  const drop = window.cancelAnimationFrame.bind(window);
  /** By a callback's text: its frames on end, and when it was last asked for or given.
   * @type {Map<string, { frames: number, seen: number }>} */
  const chains = new Map();

  window.requestAnimationFrame = (callback) => {
    const text = String(callback);
    const now = performance.now();
    const chain = chains.get(text) ?? { frames: 0, seen: now };
    chain.frames = now - chain.seen < GAP ? chain.frames + 1 : 0;
    chain.seen = now;
    chains.set(text, chain);
    if (chain.frames <= LONG) return ask(callback);
    return -window.setTimeout(() => {
      chain.seen = performance.now();
      callback(chain.seen);
    }, PAUSE);
  };
  window.cancelAnimationFrame = (id) => (id < 0 ? clearTimeout(-id) : drop(id));
})();
