// The package as frameworks hold it: behind Vue's proxies, or in React's strict mode. `?framework=`
// and `?client=` say which.
import { StrictMode, createElement, useEffect, useState } from "react";
import { createRoot } from "react-dom/client";
import { isReactive, reactive } from "vue";
import ResClient from "resclient";
import { Client, Session, init } from "relogin";
import { TestSession } from "relogin/testing";
import wasm from "relogin/relogin_bg.wasm";

init(wasm);
const asked = new URLSearchParams(location.search);
const url = asked.get("gateway");
const isResClient = asked.get("client") === "resclient";
const connection = () => (isResClient ? new ResClient(url) : new Client(url));

const vue = () => {
  const client = reactive(connection());
  const session = reactive(new Session(client));
  if (!isReactive(client) || !isReactive(session)) throw new Error("there are no proxies");
  session.on("change", () => { document.body.dataset.state = session.state; });
  const use = async () => {
    await session.ready;
    await session.login("jane", "jane");
    const user = reactive(await client.get("session.user.{cid}"));
    const change = () => {};
    user.on("change", change).off("change", change);
    if (!(session.refreshIn > 0)) throw new Error("no refresh to wait for");
    if (session.error || session.reason) throw new Error("the session is over");
    const test = reactive(new TestSession());
    test.on("change", () => {});
    await test.login("jane", "jane");
    const names = [user.name, (user.props ?? user).name, user.toJSON().name];
    const same = names.every((name) => name === session.user.name);
    return { user: user.name, same, test: test.state };
  };
  window.page = { client, session, use };
};

const react = () => {
  const client = connection();
  const page = { client, mounted: 0 };
  window.page = page;
  const App = () => {
    const [text, setText] = useState("");
    useEffect(() => {
      const session = new Session(client);
      page.mounted += 1;
      page.session = session;
      session.on("change", () => setText(`${session.state} ${session.user?.name ?? ""}`.trim()));
      return () => session.close();
    }, []);
    return createElement("p", null, text);
  };
  page.swap = () => {
    page.other = new Session(client);
    // In the document, for what waits hears of changes there.
    page.other.on("change", () => { document.body.dataset.other = page.other.state; });
    page.session.close();
  };
  const root = document.body.appendChild(document.createElement("div"));
  createRoot(root).render(createElement(StrictMode, null, createElement(App)));
};

if (asked.get("framework") === "vue") vue();
else react();
