// Where the gateway is.

const isSafe = ({ protocol }) => /^(https|wss):/.test(protocol);

/**
 * The WebSocket address that `address` means on this page: absolute or relative, `ws:`, `wss:`, `http:` or `https:`; empty: `/ws` on the
 * origin that served the page. Throws what is wrong with it, in words.
 */
export const gateway = (address) => {
  try {
    const url = new URL(address.trim() || "/ws", location.href);
    url.protocol = isSafe(url) ? "wss:" : "ws:";
    return url.href;
  } catch (error) {
    throw String(error);
  }
};

/**
 * Where the gateway at `address` answers the HTTP requests of the session `name`: what their method's name is put behind. Without an address:
 * on the origin that served the page.
 */
export const calls = (address, name) => {
  const url = new URL(address, location.href);
  return `${isSafe(url) ? "https:" : "http:"}//${url.host}/api/${name}/`;
};
