// Bundles main.js by webpack and rollup, and main-esbuild.js by esbuild: each into dist, in a
// folder of its own.
import { copyFile, mkdir, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { rollup } from "rollup";
import webpack from "webpack";

const script = "<script type=module src=main.js></script>";
const page = `<!doctype html><title>A page of a test</title><body></body>${script}`;
for (const tool of ["webpack", "esbuild", "rollup"]) {
  await mkdir(`dist/${tool}`, { recursive: true });
  await writeFile(`dist/${tool}/index.html`, page);
}

await build({
  entryPoints: { main: "main-esbuild.js" },
  bundle: true,
  format: "esm",
  loader: { ".wasm": "file" },
  publicPath: "/esbuild",
  outdir: "dist/esbuild",
});

await new Promise((resolve, reject) => {
  const output = { path: `${process.cwd()}/dist/webpack`, filename: "main.js", publicPath: "auto" };
  webpack({ mode: "production", entry: "./main.js", output }, (error, stats) => {
    if (error || stats.hasErrors()) reject(error ?? stats.toString());
    else resolve();
  });
});

// By itself it takes no modules from npm, and leaves addresses alone: the file lies where they
// point.
const resolveId = (id) => (id === "relogin" ? fileURLToPath(import.meta.resolve("relogin")) : null);
const bundle = await rollup({ input: "main.js", plugins: [{ name: "npm", resolveId }] });
await bundle.write({ dir: "dist/rollup", format: "esm" });
const wasm = fileURLToPath(import.meta.resolve("relogin/relogin_bg.wasm"));
await copyFile(wasm, "dist/rollup/relogin_bg.wasm");
