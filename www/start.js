// Loads the WebAssembly module whose file names Trunk wrote into the page's meta tag (Trunk.toml,
// pattern_script). A file of its own, not an inline script, so that a Content-Security-Policy of
// script-src 'self' 'wasm-unsafe-eval' holds.

const fail = (message) => {
  document.getElementById("start-error").textContent = message;
  document.body.dataset.view = "failed";
  document.title = "Could not start – Relogin";
};
document.getElementById("reload").addEventListener("click", () => location.reload());

// The program has panicked, whoever called it.
const stopped = (error) => {
  if (error instanceof WebAssembly.RuntimeError) fail("Something went wrong on this page.");
};
addEventListener("error", ({ error }) => stopped(error));
addEventListener("unhandledrejection", ({ reason }) => stopped(reason));

const { js, wasm } = document.querySelector('meta[name="relogin-app"]').dataset;

if (typeof WebAssembly === "object") {
  try {
    // The page has preloaded the module, with its integrity. It is compiled while its script is
    // loaded.
    const { integrity } = document.querySelector('link[rel="preload"][as="fetch"]');
    const [{ default: init }, module] = await Promise.all([
      import(new URL(js, document.baseURI)),
      WebAssembly.compileStreaming(fetch(new URL(wasm, document.baseURI), { integrity })),
    ]);
    await init({ module_or_path: module });
  } catch (error) {
    console.error(error);
    fail("Part of the page did not load. Check your connection, then reload.");
  }
} else {
  fail("This browser does not run WebAssembly. Please use a newer one.");
}
