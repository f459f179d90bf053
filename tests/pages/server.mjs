// A server that renders a page: it makes what the page makes, and ends by itself with exit code 0.
import assert from "node:assert/strict";
import { createElement, useState } from "react";
import { renderToString } from "react-dom/server";
import { Client, Session, init } from "relogin";

const App = () => {
  const [session] = useState(() => new Session(new Client("ws://127.0.0.1:1")));
  session.on("change", () => assert.fail("it has changed"));
  return createElement("p", null, session.state);
};
assert.equal(renderToString(createElement(App)), "<p>resuming</p>");

await init();
const client = new Client("");
const session = new Session(client, { name: "not a name" });
client.on("connect", () => {});
// Nobody waits for these.
client.connect();
session.ready.then(() => assert.fail("nothing is known"));
const code = (promise) => promise.then(() => "fulfilled", (error) => error.code);
assert.equal(await code(session.login("jane", "jane")), "client.noBrowser");
assert.equal(await code(session.logout()), "client.noBrowser");
assert.equal(await code(client.get("ticker.model")), "client.noBrowser");
assert.deepEqual([session.state, session.user, session.binding], ["resuming", null, undefined]);
assert.equal(client.state, "stopped");
session.close();
client.disconnect();
assert.equal(await code(session.login("jane", "jane")), "client.closed");
