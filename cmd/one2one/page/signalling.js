// The WebSocket to the application server. It comes back by itself after it was lost.

const longestWait = 8000; // milliseconds between two attempts

export class Signalling extends EventTarget {
  #socket = null;
  #waiting = []; // requests for an ICE configuration, in their order
  #attempts = 0;

  connect() {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = (this.#socket = new WebSocket(`${scheme}//${location.host}/one2one`));
    socket.onopen = () => {
      this.#attempts = 0;
      this.dispatchEvent(new Event("open"));
    };
    socket.onmessage = (event) => this.#receive(JSON.parse(event.data));
    socket.onclose = (event) => {
      if (socket !== this.#socket) return;
      this.#waiting.splice(0).forEach((request) => request.reject(new Error("The connection to the server is lost.")));
      this.dispatchEvent(new CustomEvent("lost", { detail: event.reason }));
      setTimeout(() => this.connect(), Math.min(longestWait, 250 * 2 ** this.#attempts++));
    };
  }

  get open() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  send(message) {
    if (this.open) this.#socket.send(JSON.stringify(message));
  }

  // configuration asks for credentials that are made afresh.
  configuration() {
    return new Promise((resolve, reject) => {
      if (!this.open) return reject(new Error("The connection to the server is lost."));
      this.#waiting.push({ resolve, reject });
      this.send({ id: "iceConfiguration" });
    });
  }

  #receive(message) {
    if (message.id === "iceConfiguration") {
      const request = this.#waiting.shift();
      if (message.iceConfiguration) request?.resolve(message.iceConfiguration);
      else request?.reject(new Error(message.message));
      return;
    }
    this.dispatchEvent(new CustomEvent("message", { detail: message }));
  }
}
