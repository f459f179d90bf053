// Keeps what is folded and unfolded over reloads. A script of the head, and not a module: it opens each fold as it is parsed, so that
// nothing moves after the first paint.

const name = (fold) => `relogin-page:${fold.id}`;

const restore = (fold) => {
  try {
    fold.open = localStorage.getItem(name(fold)) !== null;
  } catch {
    // A browser that keeps nothing: folded, as at first.
  }
};

new MutationObserver((changes, observer) => {
  for (const node of changes.flatMap(({ addedNodes }) => [...addedNodes])) {
    if (node.localName === "details") restore(node);
  }
  if (document.readyState !== "loading") observer.disconnect();
}).observe(document, { childList: true, subtree: true });

document.addEventListener(
  "toggle",
  ({ target }) => {
    try {
      if (target.open) localStorage.setItem(name(target), "");
      else localStorage.removeItem(name(target));
    } catch {
      // As above.
    }
  },
  true,
);
