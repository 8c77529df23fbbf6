// What the page does without the server: the theme, the model's status line, copying an attribution, opening a figure.
(() => {
  const THEME = "medvint-theme";
  const WAIT_S = 15;
  const STATUS_EVERY_MS = 3000;

  const setTheme = (dark) => document.body.classList.toggle("dark", dark);
  const wantsDark = () => {
    const asked = new URLSearchParams(location.search).get("__theme");
    const kept = asked || localStorage.getItem(THEME);
    return kept ? kept === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  };

  const showStatus = (text, state) => {
    const line = document.getElementById("status");
    if (!line || (line.textContent === text && line.className === state)) return;
    line.textContent = text;
    line.className = state;
  };

  const showNote = (isDemo, said) => {
    const note = document.getElementById("demo-note");
    const line = document.getElementById("model-line");
    if (note && line) note.textContent = isDemo ? line.dataset.demoText : said;
  };

  // Gradio calls its examples a list and their buttons no items of it, leaves the sidebar's button without a name, and
  // a wide table out of the keyboard's reach.
  const mend = () => {
    document.querySelectorAll("#chat .examples[role=list]").forEach((list) => list.setAttribute("role", "group"));
    document.querySelector(".sidebar .toggle-button")?.setAttribute("aria-label", "Conversations");
    document.querySelectorAll(".reading table:not([tabindex])").forEach((table) => (table.tabIndex = 0));
  };

  // Gradio is silent about a request that was refused.
  let waitUntil = 0;
  const plainFetch = window.fetch;
  window.fetch = async (...asked) => {
    const answer = await plainFetch(...asked);
    if (answer.status === 429) {
      waitUntil = Date.now() + 1000 * WAIT_S;
      showStatus("too many requests within a minute: wait a little, then try again", "problem");
    }
    return answer;
  };

  const askStatus = async () => {
    if (Date.now() < waitUntil) return;
    try {
      const root = document.getElementById("model-line")?.dataset.root ?? "";
      const answer = await fetch(`${root}api/status`, { cache: "no-store" });
      const { model, index } = await answer.json();
      if (!model.ready) showStatus("the model is starting or has stopped; the conversation is kept", "problem");
      else if (!index.ready) showStatus(`${model.name}, without figures: ${index.problem}`, "problem");
      else showStatus(`model: ${model.name}`, "ready");
      if (model.ready) showNote(model.demo, model.note);
    } catch {
      showStatus("this page has lost its server; the conversation is kept", "problem");
    }
  };

  const showFigure = (id) => {
    const card = document.getElementById(id);
    if (!card) return;
    card.closest("details")?.setAttribute("open", "");
    card.scrollIntoView({ block: "nearest" });
    document.querySelectorAll(".figure-card.chosen").forEach((other) => other.classList.remove("chosen"));
    card.classList.add("chosen");
    card.focus({ preventScroll: true });
  };

  const showLookAlike = async (button) => {
    const isLibrary = document.getElementById("library") !== null;
    const root = document.getElementById("model-line")?.dataset.root ?? "";
    const asked = new URLSearchParams({ figure: button.dataset.alike, page: isLibrary ? "Library" : "Chat" });
    const place = document.createElement("div");
    place.setAttribute("role", "status");
    button.replaceWith(place);
    place.textContent = "looking for a figure that looks like it";
    try {
      const answer = await fetch(`${root}look-alike?${asked}`);
      if (!answer.ok) throw new Error(answer.status);
      place.innerHTML = await answer.text();
    } catch {
      place.replaceWith(button);
      button.textContent = "the server did not answer: try again";
    }
  };

  document.addEventListener("click", async (event) => {
    const target = event.target instanceof Element ? event.target : null;
    const marker = target?.closest('a[href^="#figure-"]');
    if (marker) {
      event.preventDefault();
      event.stopPropagation();
      showFigure(marker.getAttribute("href").slice(1));
    } else if (target?.closest("#theme-toggle")) {
      const dark = !document.body.classList.contains("dark");
      localStorage.setItem(THEME, dark ? "dark" : "light");
      setTheme(dark);
    } else if (target?.closest("[data-alike]")) {
      showLookAlike(target.closest("[data-alike]"));
    } else if (target?.closest("[data-copy]")) {
      const button = target.closest("[data-copy]");
      await navigator.clipboard.writeText(button.dataset.copy);
      button.textContent = "copied";
      setTimeout(() => (button.textContent = "copy attribution"), 2000);
    }
  }, true);

  // A picture that is gone leaves its card as one without.
  document.addEventListener("error", (event) => {
    if (event.target instanceof Element && event.target.matches("img.thumb")) event.target.remove();
  }, true);

  const start = () => {
    if (!document.getElementById("status")) return setTimeout(start, 100);
    setTheme(wantsDark());
    mend();
    new MutationObserver(mend).observe(document.body, { childList: true, subtree: true });
    // On a phone the keyboard would cover the examples.
    if (innerWidth > 900) document.querySelector("#question textarea")?.focus({ preventScroll: true });
    askStatus();
    setInterval(askStatus, STATUS_EVERY_MS);
  };
  start();
})();
