// A legacy client (docs/protocol.md, section 2): the page of Resgate's guide on client sessions,
// which keeps its key by itself.
import ResClient from "resclient";

const url = new URLSearchParams(location.search).get("gateway");
const client = new ResClient(url, { reconnectDelay: 200 });
const RELOGIN_DURATION = 60_000;
let reloginTimer = null;

const keep = ({ reloginKey }) => {
  localStorage.setItem("reloginKey", reloginKey);
  clearTimeout(reloginTimer);
  reloginTimer = setTimeout(relogin, RELOGIN_DURATION);
};

function relogin() {
  const reloginKey = localStorage.getItem("reloginKey");
  if (!reloginKey) return undefined;
  return client.authenticate("session", "relogin", { reloginKey }).then(keep).catch(() => {
    localStorage.removeItem("reloginKey");
  });
}

client.setOnConnect(relogin);
client.get("session.user.{cid}").then((user) => {
  const show = () => { document.body.dataset.user = user.name ?? "nobody"; };
  user.on("change", show);
  show();
});

window.login = (username, password) =>
  client.authenticate("session", "login", { username, password }).then(keep);
