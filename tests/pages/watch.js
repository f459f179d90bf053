// Notes when the user is logged in, and when the page waited for the server until then. Runs before
// the page's own scripts.
(() => {
  const [sockets, requests, open] = [[], [], new Map()];
  let [loggedIn, started] = [null, null];
  const run = () => { started ??= performance.now(); };

  window.WebSocket = class extends WebSocket {
    constructor(...how) {
      run();
      const wait = [performance.now(), Infinity];
      sockets.push(wait);
      super(...how);
      this.addEventListener("open", () => { wait[1] = performance.now(); });
      this.addEventListener("message", ({ data }) => {
        const wait = open.get(JSON.parse(data).id);
        if (wait) wait[1] = performance.now();
      });
    }

    send(frame) {
      const wait = [performance.now(), Infinity];
      open.set(JSON.parse(frame).id, wait);
      requests.push(wait);
      return super.send(frame);
    }
  };
  const openDatabase = indexedDB.open;
  IDBFactory.prototype.open = function (...what) {
    run();
    return openDatabase.apply(this, what);
  };

  new MutationObserver(() => {
    if (document.body?.dataset.session === "in") loggedIn ??= performance.now();
  }).observe(document, { subtree: true, childList: true, attributeFilter: ["data-session"] });

  /** How long at least one of these waits lasted, until the user was in. */
  const sum = (waits) => {
    let [total, until] = [0, 0];
    const ended = waits.map(([from, to]) => [from, Math.min(to, loggedIn)]);
    for (const [from, to] of ended.sort(([a], [b]) => a - b)) {
      total += Math.max(0, to - Math.max(from, until));
      until = Math.max(until, to);
    }
    return total;
  };

  window.way = () => {
    if (loggedIn === null) return null;
    const [document] = performance.getEntriesByType("navigation");
    const files = [[0, document.responseEnd]];
    for (const { startTime, responseEnd } of performance.getEntriesByType("resource")) {
      files.push([startTime, responseEnd]);
    }
    return {
      loggedIn,
      started,
      files: sum(files),
      socket: sum(sockets),
      answers: sum(requests),
      server: sum([...files, ...sockets, ...requests]),
    };
  };
})();
