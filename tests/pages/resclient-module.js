// ResClient as a module: its own has imports that only bundlers resolve.
export default globalThis.resclient.default;
