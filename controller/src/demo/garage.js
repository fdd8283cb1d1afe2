// Asks the garage for an echo and shows the time it took.
const out = document.getElementById("eco");
const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/eco`);
let sent = 0;
const ask = () => { sent = performance.now(); socket.send("cancela?"); };
socket.onopen = ask;
socket.onmessage = () => {
  out.dataset.state = "up";
  out.textContent = `eco em ${Math.round(performance.now() - sent)} ms`;
  setTimeout(ask, 2000);
};
socket.onclose = () => { out.dataset.state = "down"; out.textContent = "desconectado"; };
