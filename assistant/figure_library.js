// Links and buttons inside HTML press Gradio's hidden buttons. The open figure is named by the page's address.
(() => {
  const press = (id) => document.getElementById(id)?.click();
  const show = () => press("open-figure");

  document.addEventListener("click", (event) => {
    const link = event.target instanceof Element ? event.target.closest("a[data-figure]") : null;
    const elsewhere = event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey;
    if (!link || elsewhere || !document.getElementById("open-figure")) return;
    event.preventDefault();
    const id = link.dataset.figure;
    history.pushState(null, "", id ? `?figure=${encodeURIComponent(id)}` : location.pathname);
    show();
  }, true);

  const presses = { find: "find-example", like: "more-like" };
  document.addEventListener("click", (event) => {
    const button = event.target instanceof Element ? event.target.closest("button[data-find], button[data-like]") : null;
    if (!button) return;
    const [kind, value] = Object.entries(button.dataset).find(([name]) => name in presses);
    window.pressedInHtml = value;
    press(presses[kind]);
    scrollTo({ top: 0 });
  }, true);

  addEventListener("popstate", show);

  window.showOpenedFigure = () => {
    const page = document.querySelector(".figure-page");
    if (!page) return;
    if (innerWidth <= 900) page.scrollIntoView({ block: "start" });
    else document.getElementById("figure-column")?.scrollTo({ top: 0 });
    page.focus({ preventScroll: true });
  };
})();
