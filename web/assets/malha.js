// What the pages can't do without a script: the reader's own time, copying, and saying whether the page is live.
// It holds no text: words come from the page's attributes. It never makes HTML.
(() => {
  "use strict";

  const root = document.documentElement;
  const absolute = new Intl.DateTimeFormat(root.lang, { dateStyle: "medium", timeStyle: "medium" });
  const withZone = new Intl.DateTimeFormat(root.lang, { dateStyle: "full", timeStyle: "long" });

  // The same units as the server's words.
  const duration = (seconds) => {
    if (seconds < 60) return `${seconds} s`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
    if (seconds < 2 * 86400) return `${Math.floor(seconds / 3600)} h`;
    return `${Math.floor(seconds / 86400)} d`;
  };

  const relative = (at) => {
    const seconds = Math.trunc((Date.now() - at.getTime()) / 1000);
    if (seconds === 0) return root.dataset.justNow;
    const words = seconds > 0 ? root.dataset.ago : root.dataset.ahead;
    return words.replace("{}", duration(Math.abs(seconds)));
  };

  const setText = (element, text) => {
    if (element.textContent !== text) element.textContent = text;
  };

  const showTimes = () => {
    for (const time of document.querySelectorAll("time[data-time]")) {
      const at = new Date(time.dateTime);
      if (Number.isNaN(at.getTime())) continue;
      setText(time, time.dataset.time === "relative" ? relative(at) : absolute.format(at));
      time.title = withZone.format(at);
    }
  };

  const showCopyButtons = () => {
    for (const button of document.querySelectorAll("button[data-copy][hidden]")) button.hidden = false;
  };

  const select = (element) => {
    const range = document.createRange();
    range.selectNodeContents(element);
    const selection = window.getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
  };

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-copy]");
    const source = button && document.getElementById(button.dataset.copy);
    if (!source) return;
    button.dataset.words ??= button.textContent;
    try {
      await navigator.clipboard.writeText(source.textContent.trim());
      button.textContent = button.dataset.copied;
    } catch {
      // Not allowed, or not a secure context: the operator copies by hand.
      select(source);
      button.textContent = button.dataset.failed;
    }
    setTimeout(() => (button.textContent = button.dataset.words), 2500);
  });

  const badge = document.getElementById("live-badge");
  const showLive = (state) => {
    if (!badge || badge.dataset.state === state) return;
    badge.dataset.state = state;
    badge.textContent = badge.dataset[state];
  };

  const leave = () => {
    location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
  };

  document.addEventListener("htmx:sse:before:connection", (event) => {
    if (event.detail.connection.attempt > 0) showLive("off");
  });
  document.addEventListener("htmx:sse:after:connection", () => showLive("on"));
  document.addEventListener("htmx:sse:close", () => showLive("off"));
  document.addEventListener("htmx:sse:error", (event) => {
    if (event.detail.status === 401) leave();
    else showLive("off");
  });
  document.addEventListener("htmx:response:error", (event) => {
    if (event.detail.ctx.response.status === 401) leave();
    else showLive("off");
  });
  document.addEventListener("htmx:error", () => showLive("off"));
  document.addEventListener("signed-out", leave);
  document.addEventListener("htmx:after:settle", () => {
    showTimes();
    showCopyButtons();
  });

  showLive("waiting");
  showTimes();
  showCopyButtons();
  setInterval(showTimes, 1000);
})();
