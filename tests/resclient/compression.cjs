// Two WebSocket clients that compress messages: npm's ws, and node's own. Each step is a line of
// JSON on standard output; tests/src/node.rs reads them.
"use strict";

const { spawnSync } = require("child_process");

// Before version 22, node has its own on request only.
if (!globalThis.WebSocket) {
  const args = ["--experimental-websocket", ...process.argv.slice(1)];
  process.exit(spawnSync(process.execPath, args, { stdio: "inherit" }).status ?? 1);
}

const url = process.argv[2];
const say = (step, more) => console.log(JSON.stringify({ step, ...more }));
// Once: what comes later is not kept.
const goOn = () => new Promise((resolve) => process.stdin.once("data", resolve));
const COUNT = 20;

/** Sends `COUNT` requests of some length each, and for a large resource as often. */
const play = (name, socket) =>
  new Promise((resolve, reject) => {
    const lengths = [];
    let versions = 0;
    socket.onopen = () => {
      for (let n = 0; n < COUNT; n += 1) {
        const params = { protocol: "1.2.3", large: "x".repeat(1000 * n) };
        socket.send(JSON.stringify({ id: 2 * n, method: "version", params }));
        socket.send(JSON.stringify({ id: 2 * n + 1, method: `get.large.model${n}` }));
      }
    };
    socket.onmessage = ({ data }) => {
      const { id, result } = JSON.parse(data);
      if (id % 2 === 0) versions += result.protocol === "1.2.3" ? 1 : 0;
      else lengths.push(Object.values(result.models)[0].text.length);
      if (versions === COUNT && lengths.length === COUNT) {
        say(name, { extensions: socket.extensions, lengths });
        socket.onclose = resolve;
        socket.close();
      }
    };
    socket.onerror = ({ message }) => reject(new Error(message));
    socket.onclose = ({ code }) => reject(new Error(`closed: ${code}`));
  });

async function main() {
  const { WebSocket: Ws } = require("ws");
  await play("ws", new Ws(url, { perMessageDeflate: { threshold: 0 } }));
  await goOn();
  await play("node", new WebSocket(url));
  process.exit();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
