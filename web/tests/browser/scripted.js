// A WebSocket whose other end is a test: put in the browser's place, it opens, speaks and breaks when the test says so.

const opened = [];
const waiting = [];

function deliver(socket) {
  const next = waiting.shift();
  if (next) next(socket);
  else opened.push(socket);
}

class ScriptedSocket extends EventTarget {
  constructor(url) {
    super();
    this.url = String(url);
    this.readyState = 0;
    this.frames = [];
    this.readers = [];
    deliver(this);
  }

  send(frame) {
    if (this.readyState === 0) throw new DOMException("not open yet", "InvalidStateError");
    if (this.readyState !== 1) return;
    const next = this.readers.shift();
    if (next) next(frame);
    else this.frames.push(frame);
  }

  close() {
    if (this.readyState < 2) this.end();
  }

  end() {
    this.readyState = 3;
    for (const next of this.readers.splice(0)) next(null);
    this.dispatchEvent(new CloseEvent("close"));
  }
}

/** From now on the page's sockets are scripted ones. */
export function install() {
  globalThis.WebSocket = ScriptedSocket;
}

/** The next socket that the page opens, or has opened already. */
export function nextSocket() {
  const socket = opened.shift();
  return socket ? Promise.resolve(socket) : new Promise((resolve) => waiting.push(resolve));
}

/** Lets the socket open. */
export function accept(socket) {
  socket.readyState = 1;
  socket.dispatchEvent(new Event("open"));
}

/** Sends a frame to the page. */
export function say(socket, frame) {
  socket.dispatchEvent(new MessageEvent("message", { data: frame }));
}

/** Ends the connection. */
export function hangUp(socket) {
  if (socket.readyState !== 3) socket.end();
}

/** The next frame from the page; null if the socket was closed. */
export function nextFrame(socket) {
  if (socket.frames.length > 0) return Promise.resolve(socket.frames.shift());
  if (socket.readyState === 3) return Promise.resolve(null);
  return new Promise((resolve) => socket.readers.push(resolve));
}

/** Another document of this origin: what it does to localStorage, this page hears of, as from another tab. */
export function otherTab() {
  const frame = document.createElement("iframe");
  document.body.append(frame);
  return frame.contentWindow;
}
