// Keeps a page that only shows numbers from drawing sixty times a second.
//
// Gradio's loading sign goes on asking for frames after it has left the page (seen in 6.31): for as long as a tab is
// open, on the processor that trains. So a callback that has asked for frame after frame for LONG of them gets one a
// second from then on; an animation that anybody looks at ends long before.

(() => {
  const LONG = 240, PAUSE = 1000, GAP = 250;  // frames; milliseconds
  const ask = window.requestAnimationFrame.bind(window), drop = window.cancelAnimationFrame.bind(window);
  const chains = new Map();  // a callback's text -> {frames on end, when last asked}

  window.requestAnimationFrame = (callback) => {
    const text = String(callback), now = performance.now();
    const chain = chains.get(text) ?? { frames: 0, asked: now };
    chain.frames = now - chain.asked < GAP || chain.frames > LONG ? chain.frames + 1 : 0;
    chain.asked = now;
    chains.set(text, chain);
    return chain.frames > LONG ? -setTimeout(() => callback(performance.now()), PAUSE) : ask(callback);
  };
  window.cancelAnimationFrame = (id) => (id < 0 ? clearTimeout(-id) : drop(id));
})();
