// A page with a session on a client, which is ours or ResClient; `?client=` says which. What it
// knows stands in the body's data.
import ResClient from "resclient";
import { Client, Session } from "relogin";

const asked = new URLSearchParams(location.search);
const url = asked.get("gateway");
const isResClient = asked.get("client") === "resclient";
const client = isResClient ? new ResClient(url, { reconnectDelay: 200 }) : new Client(url);
const session = new Session(client);
const { ready } = session;
const seen = [];
session.on("diagnostic", (line) => {
  document.body.dataset.told = `${document.body.dataset.told ?? ""}${line}\n`;
});

const show = () => {
  document.body.dataset.state = session.state;
  document.body.dataset.reason = session.reason ?? "";
  document.body.dataset.user = session.user?.name ?? "";
  document.body.dataset.binding = session.binding ?? "";
  if (seen.at(-1) !== session.state) seen.push(session.state);
};
session.on("change", show);
show();

/** The page's own hook runs when the session is resumed. */
client.setOnConnect(() => {
  document.body.dataset.hooked = session.state;
});

/** Follows the counter, which only users may see. */
const count = async () => {
  const ticker = await client.get("ticker.model");
  const tell = () => { document.body.dataset.seconds = ticker.seconds; };
  ticker.on("change", tell);
  tell();
};

const code = (promise) => promise.then(() => "fulfilled", (error) => error.code);

window.page = { client, session, ready, seen, count, code };
