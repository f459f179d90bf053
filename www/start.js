// Loads the WebAssembly module whose file names Trunk wrote into the page's meta tag (Trunk.toml, pattern_script).
// A file of its own, not an inline script, so that a Content-Security-Policy of script-src 'self' 'wasm-unsafe-eval' holds.

const fail = (message) => {
  document.getElementById("start-error").textContent = message;
  document.body.dataset.view = "failed";
  document.title = "Could not start – Relogin";
};
document.getElementById("reload").addEventListener("click", () => location.reload());

// The program has panicked, whoever has called it.
const stopped = (error) => {
  if (error instanceof WebAssembly.RuntimeError) fail("Something went wrong on this page.");
};
addEventListener("error", ({ error }) => stopped(error));
addEventListener("unhandledrejection", ({ reason }) => stopped(reason));

const { js, wasm } = document.querySelector('meta[name="relogin-app"]').dataset;

if (typeof WebAssembly === "object") {
  try {
    // The module is the one that the page has preloaded, by its integrity; the rest is fetched by the same.
    const { integrity } = document.querySelector('link[rel="preload"][as="fetch"]');
    const { default: init } = await import(new URL(js, document.baseURI));
    await init({ module_or_path: fetch(new URL(wasm, document.baseURI), { integrity }) });
  } catch (error) {
    console.error(error);
    fail("Part of the page did not load. Check your connection, then reload.");
  }
} else {
  fail("This browser does not run WebAssembly. Please use a newer one.");
}
