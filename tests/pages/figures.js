// Plays the same with ResClient and with our client, and says how many milliseconds it took.
import ResClient from "resclient";
import { Client } from "relogin";

const url = new URLSearchParams(location.search).get("gateway");
const clients = { ours: () => new Client(url), theirs: () => new ResClient(url) };

/** How long it takes from calling `method` until so many calls of `count.tell` have come. */
const timed = async (client, method, count, wanted) => {
  let told = 0;
  const all = new Promise((resolve) => {
    count.tell = () => { if ((told += 1) === wanted) resolve(performance.now()); };
  });
  const start = performance.now();
  const called = client.call("bench", method);
  const end = await all;
  await called;
  return end - start;
};

const check = (what, found, expected) => {
  if (JSON.stringify(found) !== JSON.stringify(expected)) {
    throw new Error(`${what} is not what the service has`);
  }
};

/** Each answers the time, what the client has, and what the service has. */
const parts = {
  change: async (client) => {
    const model = await client.get("bench.model");
    const count = {};
    for (let n = 0; n < 1000; n += 1) model.on("change", () => count.tell());
    // A page's clock is no finer than a tenth of a millisecond: several changes, one after the
    // other.
    let sum = 0;
    for (let n = 0; n < 10; n += 1) sum += await timed(client, "change", count, 1000);
    return [sum / 10, model.value, (state) => state.value];
  },
  load: async (client) => {
    const start = performance.now();
    const items = await client.get("bench.items");
    return [performance.now() - start, items.toArray(), (state) => state.items];
  },
  move: async (client) => {
    const items = await client.get("bench.items");
    const count = {};
    items.on("add", () => count.tell());
    items.on("remove", () => count.tell());
    const took = await timed(client, "move", count, 2000);
    return [took, items.toArray(), (state) => state.items];
  },
  changeAll: async (client) => {
    const models = (await client.get("bench.models")).toArray();
    const count = {};
    for (const model of models) model.on("change", () => count.tell());
    const took = await timed(client, "change_all", count, 1000);
    return [took, models.map(({ value }) => value), (state) => state.models];
  },
};

window.figures = {
  play: async (part, whose) => {
    const client = clients[whose]();
    await client.connect();
    const [took, found, expected] = await parts[part](client);
    check(`what ${whose} has`, found, expected(await client.call("bench", "state")));
    client.disconnect();
    return took;
  },
};
document.body.dataset.state = "there";
