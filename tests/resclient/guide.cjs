// A legacy client without a page: logs in with ResClient, keeps the relogin key, uses it on each
// connect. Each step is a line of JSON on standard output; tests/src/node.rs reads them.
"use strict";

const ResClient = require("resclient").default;
const WebSocket = require("ws");

const url = process.argv[2];
const say = (step, more) => console.log(JSON.stringify({ step, ...more }));
const goOn = () => new Promise((resolve) => process.stdin.once("data", resolve));

/** Resolves once `isIt(model)` holds: at once, or with a change of `model`. */
const until = (model, isIt) =>
  new Promise((resolve) => {
    const look = () => {
      if (isIt(model)) {
        model.off("change", look);
        resolve(model);
      }
    };
    model.on("change", look);
    look();
  });

const props = ({ id, name, role }) => ({ id, name, role });

async function main() {
  let reloginKey = null;
  const delays = { reconnectDelay: 100, subscribeStaleDelay: 500 };
  const client = new ResClient(() => new WebSocket(url), delays);
  client.setOnConnect(() => {
    if (!reloginKey) return undefined;
    return client.authenticate("session", "relogin", { reloginKey }).then(
      (result) => { reloginKey = result.reloginKey; },
      (error) => { say("relogin failed", { code: error.code }); },
    );
  });

  const user = await client.get("session.user.{cid}");
  user.on("change", () => {}); // what is listened to is kept subscribed
  say("anonymous", { user: props(user) });

  await client.authenticate("session", "login", { username: "jane", password: "wrong" }).then(
    () => say("not refused"),
    (error) => say("refused", { code: error.code }),
  );
  await client.get("ticker.model").then(
    () => say("not denied"),
    (error) => say("denied", { code: error.code }),
  );

  const jane = { username: "jane", password: "jane" };
  ({ reloginKey } = await client.authenticate("session", "login", jane));
  await until(user, (user) => user.id === 3);
  say("in", { user: props(user) });

  const ticker = await client.get("ticker.model");
  let seconds = ticker.seconds;
  await until(ticker, (ticker) => ticker.seconds > seconds);
  ticker.on("change", () => {});

  const firstKey = reloginKey;
  const disconnected = new Promise((resolve) => client.on("disconnect", resolve));
  const connected = new Promise((resolve) => client.on("connect", resolve));
  say("counting");
  await disconnected;
  say("disconnected");
  await connected;
  say("reconnected", { rotated: reloginKey !== firstKey });
  await until(user, (user) => user.id === 3);
  say("back", { user: props(user) });
  seconds = ticker.seconds;
  await until(ticker, (ticker) => ticker.seconds !== seconds);
  say("counting again");

  await goOn();
  const gone = new Promise((resolve) => ticker.on("unsubscribe", resolve));
  reloginKey = null;
  await client.authenticate("session", "logout");
  await until(user, (user) => user.id === null);
  say("out", { user: props(user) });
  await gone;
  say("counter gone");
  process.exit(0);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
