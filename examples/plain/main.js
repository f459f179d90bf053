import { Client, Session } from "relogin";

const client = new Client("ws://localhost:8080");
const session = new Session(client); // before the client connects

const find = (selector) => document.querySelector(selector);
const [form, main, alert] = [find("form"), find("main"), find("[role=alert]")];
const report = (error) => { alert.textContent = error.message; };

/** The counter, once somebody is logged in who may see it. */
let ticker;
const follow = async () => {
  ticker = await client.get("ticker.model");
  const show = () => { find("#seconds").textContent = ticker.seconds; };
  ticker.on("change", show);
  show();
};

session.on("change", () => {
  form.hidden = !["anonymous", "ended"].includes(session.state); // "resuming": no form yet
  main.hidden = !session.user;
  find("#user").textContent = session.user?.name ?? "";
  if (session.state === "loadFailed") report(session.error);
  if (session.state === "loggedIn" && !ticker) follow().catch(report);
});

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  alert.textContent = "";
  const { username, password } = Object.fromEntries(new FormData(form));
  await session.login(username, password).then(() => form.reset(), report);
});

find("#logout").addEventListener("click", () => session.logout());
